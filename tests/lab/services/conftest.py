"""Fixtures: a directory and Resource Manager with all services."""

__all__ = [
    *("clock", "database_url", "directory", "directory_url", "empty_directory"),
    *("manager", "postgres_pool"),
]
