"""The clock is a parameter, so that tests can set the time to the exact second."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], float]
"""Seconds since the epoch, as a float."""

system: Clock = time.time


def rfc3339(seconds: float) -> str:
    """Format a time as Kubernetes does: UTC, whole seconds, `Z`."""
    return _format(int(seconds))


@lru_cache(maxsize=64)  # a busy service logs thousands of lines per second
def _format(seconds: int) -> str:
    # Not strftime: it writes years before 1000 with fewer than four digits.
    return datetime.fromtimestamp(seconds, tz=UTC).replace(tzinfo=None).isoformat() + "Z"
