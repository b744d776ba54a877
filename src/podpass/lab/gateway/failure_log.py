"""A log of failures that any client can cause without limit."""

import logging

from podpass.clock import Clock
from podpass.errors import Error

_LOG_SECONDS = 60.0


class FailureLog:
    """Logs each event at most once a minute, with the number of failures since its last line."""

    def __init__(self, logger: logging.Logger, clock: Clock) -> None:
        self._logger, self._clock = logger, clock
        self._next: dict[str, float] = {}
        self._failed: dict[str, int] = {}

    def report(self, event: str, exc: Exception) -> None:
        """Count a failure, and log it unless the event was logged in the last minute."""
        self._failed[event] = self._failed.get(event, 0) + 1
        now = self._clock()
        if now < self._next.get(event, now):
            return
        self._next[event] = now + _LOG_SECONDS
        is_expected = isinstance(exc, OSError | EOFError | Error)
        cause = exc.message if isinstance(exc, Error) else type(exc).__name__
        facts = {"cause": cause, "failed": self._failed.pop(event)}
        self._logger.warning(event, extra=facts, exc_info=None if is_expected else exc)
