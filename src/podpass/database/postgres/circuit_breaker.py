"""A circuit breaker for a PostgreSQL server that was recently unavailable."""

import time

from podpass.database.errors import DatabaseBusy, first_line
from podpass.database.notifications import ChangeNotifier

# How long calls fail immediately after an attempt that did not reach the server.
_OPEN_SECONDS = 0.5


class CircuitBreaker:
    """Fails calls immediately after a failed attempt; closes when the listener reaches the server again."""

    def __init__(self, notifier: ChangeNotifier) -> None:
        self._notifier = notifier
        self._open_until = 0.0
        self._cause = ""

    def record_failure(self, message: object) -> None:
        """Record that the server was not reached, and the driver's message."""
        self._open_until = time.monotonic() + _OPEN_SECONDS
        self._cause = first_line(message)

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until and not self._notifier.is_connected

    def check(self) -> None:
        """Reject a call while the circuit is open. Raises DatabaseBusy."""
        if self.is_open:
            raise DatabaseBusy("the database is unavailable", cause=self._cause)
