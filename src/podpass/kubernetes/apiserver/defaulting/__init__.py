"""Default values that the API server writes into objects."""
