"""One-time links and sessions of the console. No I/O; time comes from a clock.

Only hashes are stored: neither a link nor a cookie can be read from the memory of the process as text.
"""

import hashlib
import secrets
from collections import OrderedDict

from podpass.clock import Clock

LINK_SECONDS = 900
SESSION_SECONDS = 12 * 3600
# When there are more, the oldest is removed.
MAX_LINKS = 16
MAX_SESSIONS = 64
_MAX_CHARS = 64


class Expiring:
    """Random values that are valid for a time; a value is known by its hash only."""

    def __init__(self, seconds: float, maximum: int, clock: Clock) -> None:
        self._seconds, self._maximum, self._clock = seconds, maximum, clock
        self._ends: OrderedDict[bytes, float] = OrderedDict()

    def issue(self) -> str:
        """Create a value; drop the oldest if there are too many."""
        value = secrets.token_urlsafe(18)  # 144 bits
        self._ends[_hash(value)] = self._clock() + self._seconds
        while len(self._ends) > self._maximum:
            self._ends.popitem(last=False)
        return value

    def is_valid(self, value: str) -> bool:
        """Return whether a value was issued and has not expired."""
        ends = self._ends.get(_hash(value)) if len(value) <= _MAX_CHARS else None
        return ends is not None and self._clock() < ends

    def redeem(self, value: str) -> bool:
        """Return whether a value is valid, and remove it."""
        is_valid = self.is_valid(value)
        self._ends.pop(_hash(value[:_MAX_CHARS]), None)
        return is_valid


class Sessions:
    """The sessions of one console: a link is redeemed once, and gives a session."""

    def __init__(self, clock: Clock) -> None:
        self._links = Expiring(LINK_SECONDS, MAX_LINKS, clock)
        self._sessions = Expiring(SESSION_SECONDS, MAX_SESSIONS, clock)

    def create_link(self) -> str:
        """Return the code of a new one-time link."""
        return self._links.issue()

    def redeem(self, code: str) -> str | None:
        """Return a new session for a link's code; None if the code is unknown, used or expired."""
        return self.open() if self._links.redeem(code) else None

    def open(self) -> str:
        """Return a new session, for a caller that is authenticated in another way."""
        return self._sessions.issue()

    def is_signed_in(self, session: str) -> bool:
        """Return whether a session is valid."""
        return self._sessions.is_valid(session)

    def end(self, session: str) -> None:
        """End a session."""
        self._sessions.redeem(session)


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
