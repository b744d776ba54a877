"""Alembic migrations of the tables of certificates. A released migration never changes."""
