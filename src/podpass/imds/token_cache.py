"""Tokens by client ID and scope: one request for all callers, refreshed ahead of expiry in the background.

    remaining lifetime of the token       what a caller gets
    above the refresh point               the cached token
    below it                              the cached token; a refresh starts in the background
    below `_MIN_SECONDS`                  a new token after a wait, or the error

The refresh point is a third of the lifetime. While the authority is unavailable, callers get the cached token
as long as it is valid.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from podpass.clock import Clock
from podpass.errors import Error

_log = logging.getLogger(__name__)

# The reference caches this number of credentials.
MAX_TOKENS = 128
_MIN_SECONDS = 60.0
_REFRESH_SHARE = 1 / 3
_RETRY_SECONDS = 30.0

TokenKey = tuple[str, str]
"""Client ID and scope."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """An access token.

    Units:   `obtained` and `expires` in seconds since the epoch.
    """

    token: str
    obtained: float
    expires: float

    def __repr__(self) -> str:
        return f"AccessToken(expires={self.expires})"


@dataclass(slots=True)
class _Entry:
    token: AccessToken | None = None
    pending: asyncio.Task[AccessToken] | None = None
    retry_at: float = 0.0


class TokenCache:
    """Cached tokens; `fetch` gets a new one from the authority."""

    def __init__(self, fetch: Callable[[str, str], Awaitable[AccessToken]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._entries: OrderedDict[TokenKey, _Entry] = OrderedDict()

    def cached(self, key: TokenKey) -> AccessToken | None:
        """Return a valid cached token, or None; start a refresh if it is due."""
        entry = self._entries.get(key)
        if entry is None or entry.token is None:
            return None
        token, now = entry.token, self._clock()
        remaining = token.expires - now
        # A clock that was set back must not extend the lifetime of a token.
        if remaining < _MIN_SECONDS or now < token.obtained - _MIN_SECONDS:
            return None
        self._entries.move_to_end(key)
        lifetime = token.expires - token.obtained
        if (
            remaining < lifetime * _REFRESH_SHARE
            and entry.pending is None
            and now >= entry.retry_at
        ):
            entry.pending = asyncio.create_task(self._refresh(key, entry))
            entry.pending.add_done_callback(_ignore_result)
        return token

    async def get(self, key: TokenKey) -> AccessToken:
        """Return a valid token.

        Errors:  the errors of the fetch.
        """
        if (token := self.cached(key)) is not None:
            return token
        entry = self._entries.setdefault(key, _Entry())
        self._entries.move_to_end(key)
        self._evict()
        if entry.pending is None:
            entry.pending = asyncio.create_task(self._refresh(key, entry))
            entry.pending.add_done_callback(_ignore_result)
        # Shielded: a caller that disconnects must not cancel the request of the other callers.
        return await asyncio.shield(entry.pending)

    async def close(self) -> None:
        """Cancel the requests in flight."""
        pending = [entry.pending for entry in self._entries.values() if entry.pending is not None]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _refresh(self, key: TokenKey, entry: _Entry) -> AccessToken:
        try:
            entry.token = await self._fetch(*key)
        except Error as exc:
            entry.retry_at = self._clock() + _RETRY_SECONDS
            _log.warning(
                "token_request_failed",
                extra={"client_id": key[0], "scope": key[1], "cause": exc.message},
            )
            raise
        else:
            return entry.token
        finally:
            entry.pending = None

    def _evict(self) -> None:
        """Evict the least recently used tokens, but none that callers wait for."""
        excess = len(self._entries) - MAX_TOKENS
        idle = [key for key, entry in self._entries.items() if entry.pending is None]
        for key in idle[: max(0, excess)]:
            del self._entries[key]


def _ignore_result(task: asyncio.Task[AccessToken]) -> None:
    """Read the result of a background refresh: its failure is logged already."""
    if not task.cancelled():
        task.exception()
