"""What a soak says while it runs: on stderr, a line at a time, with the time since its start."""

import sys
import time

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"soak {time.monotonic() - _BEGAN:7.1f} s  {text}\n")
    sys.stderr.flush()
