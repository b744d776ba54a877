"""A network namespace for one test."""

from tests.servers.proxy.namespace import namespace

__all__ = ["namespace"]
