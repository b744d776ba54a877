"""Versions of the directory's tables, as scripts of Alembic: each after the one before, never changed again.

A script writes its columns out and imports no table: the schema goes on, the script does not.
"""
