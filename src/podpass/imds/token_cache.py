"""Tokens by client ID and scope: one request for all callers, refreshed ahead of expiry in the background.

    remaining lifetime of the token       what a caller gets
    above the refresh point               the cached token
    below it                              the cached token; a refresh starts in the background
    below `_MIN_SECONDS`                  a new token after a wait; if the request fails, the cached token
    below `_LAST_SECONDS`                 a new token after a wait, or the error

The refresh point is a third of the lifetime. A failed refresh is repeated after `_RETRY_SECONDS`. A new token
is returned to the callers that wait for it even if its lifetime is shorter than `_MIN_SECONDS`; the next
caller then causes another request.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from podpass.clock import Clock
from podpass.errors import Error

_log = logging.getLogger(__name__)

# azure-workload-identity caches this number of credentials.
MAX_TOKENS = 128
_MIN_SECONDS = 60.0
# A response reports less than the real lifetime, and the caller needs some time to use the token.
_LAST_SECONDS = 15.0
_REFRESH_SHARE = 1 / 3
_RETRY_SECONDS = 30.0
# A token without a caller for this time is not in use.
_USED_SECONDS = 600.0

TokenKey = tuple[str, str]
"""Client ID and scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """An access token; `request_id` is the correlation ID of the exchange that returned it.

    Units: `obtained` and `expires` in seconds since the epoch.
    """

    token: str
    obtained: float
    expires: float
    request_id: str = ""

    def __repr__(self) -> str:
        return f"AccessToken(expires={self.expires})"


@dataclass(slots=True)
class _Entry:
    token: AccessToken | None = None
    pending: asyncio.Task[AccessToken] | None = None
    retry_at: float = 0.0
    used: float = 0.0
    # The time at which a caller first needed a refresh that has not succeeded yet.
    due: float | None = None

    def is_lost(self, now: float) -> bool:
        """Return whether the token expired although a caller needed a refresh."""
        is_first_attempt = self.pending is not None and not self.retry_at
        return (
            self.due is not None
            and not is_first_attempt
            and self.token is not None
            and _remaining(self.token, now) < _LAST_SECONDS
        )


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """The state of the tokens that programs used in the last minutes.

    `expired` counts tokens that expired because their refresh failed. Units: `overdue_seconds` is the longest
    time for which a refresh has been due.
    """

    tokens: int
    expired: int
    overdue_seconds: float


class TokenCache:
    """Cached tokens; `fetch` gets a new one from the authority."""

    def __init__(self, fetch: Callable[[str, str], Awaitable[AccessToken]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._entries: OrderedDict[TokenKey, _Entry] = OrderedDict()
        # For the metrics: the number of requests to the authority, and the times of the last ones.
        self.refreshes, self.failures = 0, 0
        self.refreshed_at, self.failed_at = 0.0, 0.0

    def cached(self, key: TokenKey) -> AccessToken | None:
        """Return a valid cached token, or None; start a refresh if it is due."""
        entry = self._entries.get(key)
        if entry is None or entry.token is None:
            return None
        now = self._clock()
        entry.used = now
        remaining = _remaining(entry.token, now)
        if remaining >= (entry.token.expires - entry.token.obtained) * _REFRESH_SHARE:
            self._entries.move_to_end(key)
            return entry.token if remaining >= _MIN_SECONDS else None
        if entry.due is None:
            entry.due = now
        if remaining < _MIN_SECONDS:
            return None
        self._entries.move_to_end(key)
        if entry.pending is None and not now < entry.retry_at <= now + _RETRY_SECONDS:
            self._start(key, entry)
        return entry.token

    async def get(self, key: TokenKey) -> AccessToken:
        """Return a valid token. Raises the errors of the fetch."""
        if (token := self.cached(key)) is not None:
            return token
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        self._evict()
        pending = entry.pending or self._start(key, entry)
        try:
            # Shielded: a caller that disconnects must not cancel the request of the other callers.
            return await asyncio.shield(pending)
        except Error:
            if entry.token is not None and _remaining(entry.token, self._clock()) >= _LAST_SECONDS:
                return entry.token
            raise

    def status(self) -> CacheStatus:
        """Return the state of the tokens in use."""
        now = self._clock()
        used = [
            entry
            for entry in self._entries.values()
            if entry.token is not None and abs(now - entry.used) < _USED_SECONDS
        ]
        return CacheStatus(
            tokens=len(used),
            expired=sum(entry.is_lost(now) for entry in used),
            overdue_seconds=max((0.0, *(now - each.due for each in used if each.due is not None))),
        )

    async def close(self) -> None:
        """Cancel the requests in flight."""
        pending = [entry.pending for entry in self._entries.values() if entry.pending is not None]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _start(self, key: TokenKey, entry: _Entry) -> asyncio.Task[AccessToken]:
        entry.pending = asyncio.create_task(self._refresh(key, entry))
        entry.pending.add_done_callback(_ignore_result)
        return entry.pending

    async def _refresh(self, key: TokenKey, entry: _Entry) -> AccessToken:
        try:
            token = await self._fetch(*key)
        except Error as exc:
            self.failed_at = self._clock()
            self.failures += 1
            entry.retry_at = self._clock() + _RETRY_SECONDS
            _log.warning(
                "token_request_failed",
                extra={"client_id": key[0], "scope": key[1], "cause": exc.message},
            )
            raise
        else:
            entry.token, entry.due, entry.retry_at = token, None, 0.0
            self.refreshed_at = entry.used = self._clock()
            self.refreshes += 1
            return token
        finally:
            entry.pending = None

    def _evict(self) -> None:
        """Evict the least recently used tokens, but none that callers wait for."""
        excess = len(self._entries) - MAX_TOKENS
        idle = [key for key, entry in self._entries.items() if entry.pending is None]
        for key in idle[: max(0, excess)]:
            del self._entries[key]


def _remaining(token: AccessToken, now: float) -> float:
    """Return the remaining lifetime. A clock that was set back must not extend it."""
    return token.expires - now if now >= token.obtained - _MIN_SECONDS else 0.0


def _ignore_result(task: asyncio.Task[AccessToken]) -> None:
    """Read the result of a background refresh: its failure is logged already."""
    if not task.cancelled():
        task.exception()
