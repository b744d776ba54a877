"""The Alembic migrations of the token service's tables, one module for each version."""
