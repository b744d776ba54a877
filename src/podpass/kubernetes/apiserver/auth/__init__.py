"""Authentication, impersonation, RBAC, access reviews and ServiceAccount token requests."""
