"""Podpass in a container, for tests that use Testcontainers: `pip install podpass[testcontainers]`."""

from podpass.testcontainers.base import IMAGE
from podpass.testcontainers.container import CloudContainer, PodpassContainer

__all__ = ["IMAGE", "CloudContainer", "PodpassContainer"]
