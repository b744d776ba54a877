"""Time comes in from outside, so that every edge in time can be tested at its very second."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], float]
"""Seconds since the epoch, as a float."""

system: Clock = time.time


def rfc3339(seconds: float) -> str:
    """Write a time as Kubernetes does: UTC, whole seconds, `Z`."""
    return _written(int(seconds))


@lru_cache(maxsize=64)  # a busy log writes thousands of lines in one second
def _written(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
