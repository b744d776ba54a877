"""The embedded API server: authenticates, authorizes, admits, validates, stores and watches objects."""
