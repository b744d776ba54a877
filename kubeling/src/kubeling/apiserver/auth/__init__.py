"""Authentication, impersonation, RBAC, and the reviews and tokens that the API server serves."""
