"""How often something may be done that another program keeps undoing."""

from podpass.clock import Clock

_CALM = 4  # times the present gap without a need for it: the quarrel is over


class Pace:
    """Allow a first time at once, and then only after gaps that double while it is needed again.

    Units:   seconds of `ticks`.
    """

    def __init__(self, ticks: Clock, first: float, last: float) -> None:
        self._ticks, self._first, self._last = ticks, first, last
        self._gap = 0.0
        self._since = float("-inf")

    @property
    def allows(self) -> bool:
        return self.wait_seconds <= 0

    @property
    def wait_seconds(self) -> float:
        """How long until it may be done again."""
        return self._since + self._gap - self._ticks()

    @property
    def is_contested(self) -> bool:
        """Tell whether it was needed again and again, and not long ago."""
        return self._gap > 2 * self._first and not self._is_calm(self._ticks())

    def spend(self) -> None:
        """Note that it was done."""
        now = self._ticks()
        self._gap = self._first if self._is_calm(now) else min(self._gap * 2, self._last)
        self._since = now

    def _is_calm(self, now: float) -> bool:
        return now - self._since > _CALM * self._gap
