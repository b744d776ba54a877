"""A clock that tests can move."""

from podpass.clock import Clock, system


class MovableClock:
    """The system's clock plus an offset, in seconds."""

    def __init__(self, base: Clock = system) -> None:
        self._base = base
        self.offset = 0.0

    def __call__(self) -> float:
        """Return the seconds since 1970."""
        return self._base() + self.offset
