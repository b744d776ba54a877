"""Alembic migrations of the vault's tables. A released migration never changes.

A migration writes out its columns and imports no table, because the schema changes later and the migration
must not.
"""
