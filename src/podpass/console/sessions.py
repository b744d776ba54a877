"""One-time links and sessions of the console. No I/O; time comes from a clock.

Only hashes are stored: neither a link nor a cookie can be read from the memory of the process as text.
"""

import hashlib
import secrets
from collections import OrderedDict
from typing import Generic, TypeVar

from podpass.clock import Clock

LINK_SECONDS = 900
SESSION_SECONDS = 12 * 3600
# When there are more, the oldest is removed.
MAX_LINKS = 16
MAX_SESSIONS = 64
_MAX_CHARS = 64
Owner = TypeVar("Owner")


class Expiring(Generic[Owner]):
    """Random values that are valid for a time, each with an owner; a value is known by its hash only."""

    def __init__(self, seconds: float, maximum: int, clock: Clock) -> None:
        self._seconds, self._maximum, self._clock = seconds, maximum, clock
        self._ends: OrderedDict[bytes, tuple[float, Owner]] = OrderedDict()

    def issue(self, owner: Owner) -> str:
        """Create a value; drop the oldest if there are too many."""
        value = secrets.token_urlsafe(18)  # 144 bits
        self._ends[_hash(value)] = self._clock() + self._seconds, owner
        while len(self._ends) > self._maximum:
            self._ends.popitem(last=False)
        return value

    def owner(self, value: str) -> Owner | None:
        """Return the owner of a value; None if it was not issued, or has expired."""
        found = self._ends.get(_hash(value)) if len(value) <= _MAX_CHARS else None
        return found[1] if found is not None and self._clock() < found[0] else None

    def redeem(self, value: str) -> Owner | None:
        """Return the owner of a valid value, and remove it."""
        owner = self.owner(value)
        self._ends.pop(_hash(value[:_MAX_CHARS]), None)
        return owner


class Sessions(Generic[Owner]):
    """The sessions of one console: a link is redeemed once, and gives a session; or a sign-in opens one."""

    def __init__(self, clock: Clock) -> None:
        self._links: Expiring[Owner] = Expiring(LINK_SECONDS, MAX_LINKS, clock)
        self._sessions: Expiring[Owner] = Expiring(SESSION_SECONDS, MAX_SESSIONS, clock)

    def create_link(self, owner: Owner) -> str:
        """Return the code of a new one-time link."""
        return self._links.issue(owner)

    def redeem(self, code: str) -> str | None:
        """Return a new session for a link's code; None if the code is unknown, used or expired."""
        owner = self._links.redeem(code)
        return None if owner is None else self.open(owner)

    def open(self, owner: Owner) -> str:
        """Return a new session, for a caller that is authenticated in another way."""
        return self._sessions.issue(owner)

    def owner(self, session: str) -> Owner | None:
        """Return the owner of a valid session, or None."""
        return self._sessions.owner(session)

    def is_signed_in(self, session: str) -> bool:
        """Return whether a session is valid."""
        return self._sessions.owner(session) is not None

    def end(self, session: str) -> None:
        """End a session."""
        self._sessions.redeem(session)


def _hash(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
