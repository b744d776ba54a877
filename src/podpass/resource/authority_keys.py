"""The authority's published keys, fetched over HTTPS and kept by name.

An unknown name makes one fetch an interval at most, however many tokens bring it; a key that is no longer
published stops being trusted when what was fetched has grown old.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from podpass.clock import Clock
from podpass.crypto import jose
from podpass.errors import Error

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 3600
STALE_SECONDS = 24 * 3600
_RETRY_SECONDS = 1


class Fetches(Protocol):
    """Something that fetches a JSON object over HTTPS."""

    async def get_json(self, url: str) -> dict[str, Any]: ...


class KeysUnavailable(Error):
    """The authority's keys cannot be fetched, and none are kept that may still be used."""

    code = "keys_unavailable"
    status = 503
    hint = "see whether the authority is running and its certificate is trusted"


class PublishedKeys:
    """The keys at one JWKS address.

    Units:   `interval_seconds` at least between two fetches for a name that is not known.
    """

    def __init__(
        self, fetcher: Fetches, url: str, clock: Clock, *, interval_seconds: float = 10
    ) -> None:
        self._fetcher = fetcher
        self._url = url
        self._clock = clock
        self._interval = interval_seconds
        self._keys: Mapping[str, jose.PublicKey] = {}
        self._fetched: float | None = None
        self._next = 0.0
        self._running: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> jose.PublicKey | None:
        """Find a published key.

        Errors:  KeysUnavailable.
        """
        age = self._age()
        if kid not in self._keys or age >= REFRESH_SECONDS:
            await self._refresh()
            age = self._age()
        if age >= STALE_SECONDS:
            raise KeysUnavailable("the authority's keys are not to be had")
        return self._keys.get(kid)

    def _age(self) -> float:
        if self._fetched is None:
            return STALE_SECONDS
        age = self._clock() - self._fetched
        # A clock set back would keep a withdrawn key alive: what seems to come from the future is old.
        return age if age >= 0 else STALE_SECONDS

    async def _refresh(self) -> None:
        if self._running is None:
            now = self._clock()
            # A clock set back must not stop all fetching until it has caught up.
            if now < self._next <= now + self._interval:
                return
            self._running = asyncio.create_task(self._fetch())
            self._running.add_done_callback(self._done)
        # Shielded: one caller that goes away must not take the answer from the others.
        await asyncio.shield(self._running)

    def _done(self, _task: asyncio.Task[None]) -> None:
        self._running = None

    async def _fetch(self) -> None:
        try:
            found = jose.load_jwks(await self._fetcher.get_json(self._url))
        except Error as exc:
            self._next = self._clock() + min(_RETRY_SECONDS, self._interval)
            _log.warning("keys_not_fetched", extra={"url": self._url, "cause": exc.message})
            return
        now = self._clock()
        self._next = now + self._interval
        self._fetched = now
        self._keys = {key.kid: key for key in found if key.kid}
        _log.info("keys_fetched", extra={"url": self._url, "keys": len(self._keys)})
