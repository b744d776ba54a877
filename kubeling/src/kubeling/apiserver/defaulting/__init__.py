"""Default values that the API server sets in objects."""
