"""An instance in a container, for tests that use Testcontainers: `pip install podpass[testcontainers]`."""

from podpass.testcontainers.container import IMAGE, PodpassContainer

__all__ = ["IMAGE", "PodpassContainer"]
