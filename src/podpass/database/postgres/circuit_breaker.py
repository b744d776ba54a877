"""Whether a server was away a moment ago."""

import time

from podpass.database.errors import DatabaseBusy, first_line
from podpass.database.notifications import News

# After a try that did not reach the server, everybody is told at once instead of trying, for so long.
_SECONDS = 0.5


class Outage:
    """Spares those who ask a try that has just failed; over at once when the server is heard again."""

    def __init__(self, news: News) -> None:
        self._news = news
        self._until = 0.0
        self._cause = ""

    def note(self, said: object) -> None:
        """Note that the server was not reached, and what its driver said of it."""
        self._until = time.monotonic() + _SECONDS
        self._cause = first_line(said)

    @property
    def lasts(self) -> bool:
        return time.monotonic() < self._until and not self._news.heard

    def check(self) -> None:
        """Refuse to try while it lasts.

        Errors:  DatabaseBusy.
        """
        if self.lasts:
            raise DatabaseBusy("the database is not to be had", cause=self._cause)
