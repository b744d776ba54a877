"""Fixtures: a directory and Resource Manager with all services."""

from tests.directory.conftest import (
    clock,
    database_url,
    directory,
    directory_url,
    empty_directory,
    postgres_pool,
)
from tests.directory.resource_manager.conftest import manager

__all__ = [
    "clock",
    "database_url",
    "directory",
    "directory_url",
    "empty_directory",
    "manager",
    "postgres_pool",
]
