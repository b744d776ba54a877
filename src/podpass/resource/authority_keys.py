"""The authority's published keys, fetched over HTTPS and cached by key ID.

Unknown key IDs start at most one fetch per interval, independent of the number of tokens. A key that is no
longer published is refused when the cached keys are too old.
"""

import logging
from typing import Any, Protocol

from podpass.clock import Clock
from podpass.crypto import jose
from podpass.crypto.key_cache import KeyCache, KeyCachePolicy, KeysById, NoUsableKeys
from podpass.errors import Error

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 3600
STALE_SECONDS = 24 * 3600
_RETRY_SECONDS = 1


class Fetches(Protocol):
    """A client that fetches a JSON object over HTTPS."""

    async def get_json(self, url: str) -> dict[str, Any]: ...


class KeysUnavailable(Error):
    """The authority's keys cannot be fetched, and no cached keys may still be used."""

    code = "keys_unavailable"
    status = 503
    hint = "check that the authority is running and that its certificate is trusted"


class PublishedKeys:
    """Cache the keys at one JWKS address.

    Units: `interval_seconds` is the minimum time between two fetches for unknown key IDs.
    """

    def __init__(
        self, fetcher: Fetches, url: str, clock: Clock, *, interval_seconds: float = 10
    ) -> None:
        self._fetcher = fetcher
        self._url = url
        retry = min(_RETRY_SECONDS, interval_seconds)
        self._policy = KeyCachePolicy(
            refresh_seconds=REFRESH_SECONDS,
            fresh_seconds=REFRESH_SECONDS,
            max_age_seconds=STALE_SECONDS,
            retry_seconds=retry,
            refetch_seconds=interval_seconds,
            failed_refetch_seconds=retry,
        )
        self._clock = clock
        self.clear()

    async def find(self, kid: str) -> jose.PublicKey | None:
        """Find a published key. Raises KeysUnavailable."""
        try:
            found = await self._keys.find(kid)
        except NoUsableKeys as exc:
            raise KeysUnavailable("the authority's keys are unavailable") from exc
        return found[-1] if found else None

    def clear(self) -> None:
        """Drop the keys; the next token check fetches them."""
        self._keys = KeyCache(self._fetch, self._policy, self._clock)

    async def _fetch(self) -> KeysById:
        try:
            found = jose.load_jwks(await self._fetcher.get_json(self._url))
        except Error as exc:
            _log.warning("keys_fetch_failed", extra={"url": self._url, "cause": exc.message})
            raise
        keys = {key.kid: (key,) for key in found if key.kid}
        _log.info("keys_fetched", extra={"url": self._url, "keys": len(keys)})
        return keys
