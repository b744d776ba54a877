"""The type of a clock. A clock is a parameter, so that tests can set the time to the exact second."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]
"""Seconds since the epoch, as a float."""

system: Clock = time.time


def rfc3339(seconds: float) -> str:
    """Format a time as Kubernetes does: UTC, whole seconds, `Z`."""
    # Not strftime: it writes years before 1000 with fewer than four digits.
    return datetime.fromtimestamp(int(seconds), tz=UTC).replace(tzinfo=None).isoformat() + "Z"
