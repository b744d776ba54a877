"""Progress messages of a soak: lines on stderr with the time since the start."""

import sys
import time

_BEGAN = time.monotonic()


def log_progress(text: str) -> None:
    """Print one line to stderr."""
    sys.stderr.write(f"soak {time.monotonic() - _BEGAN:7.1f} s  {text}\n")
    sys.stderr.flush()
