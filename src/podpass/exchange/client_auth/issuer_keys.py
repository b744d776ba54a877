"""The keys of the issuers that federated credentials trust: one KeyCache for each issuer.

    age of the keys            what a request gets
    below half of fresh        the cached keys
    below fresh                the cached keys; a fetch starts in the background
    below fresh + stale        it waits for a fetch; if the fetch fails, the cached keys
    above                      it waits for a fetch; if the fetch fails, IssuerUnavailable

Requests therefore do not wait for an issuer in use. A withdrawn key stops working within
`issuer_fresh_seconds` of the last fetch that contained it, or, if the issuer is down, within the longer time.

Callers must match the issuer to a credential first. Issuers that have never responded, or respond slowly,
share a separate semaphore, so that they cannot delay the issuers in use.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from podpass.clock import Clock
from podpass.crypto import jose
from podpass.crypto.key_cache import KeyCache, KeyCachePolicy, KeysById, NoUsableKeys
from podpass.errors import Error
from podpass.exchange.client_auth.issuer_discovery import (
    ClusterIssuer,
    IssuerUnavailable,
    JsonFetcher,
    fetch_keys,
)
from podpass.exchange.errors.issuer_reasons import describe_reason
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)

MAX_ISSUERS = 10_000
MAX_KEYS = 20_000  # of all issuers together; 3 KB each
# The number of concurrent fetches from fast issuers, and the same number from all others: slow issuers take
# no slot from the issuers in use.
MAX_FETCHES = 64
# An issuer that needs longer than this counts as slow.
FAST_SECONDS = 1.0
# For all of one fetch: waiting for a slot, two DNS lookups, two documents.
FETCH_SECONDS = 3.0
# Limit of the backoff, as a multiple of `issuer_retry_seconds`.
MAX_RETRY_FACTOR = 6


@dataclass(slots=True, kw_only=True)
class _IssuerEntry:
    """The cache of one issuer, and how long its last fetch took, in seconds."""

    keys: KeyCache = field(init=False)
    fetch_seconds: float = float("inf")


class IssuerKeyCache:
    """Cache the signing keys of many issuers."""

    def __init__(self, fetcher: JsonFetcher, settings: AuthoritySettings, clock: Clock) -> None:
        self._fetcher = fetcher
        self._settings = settings
        self._clock = clock
        self._cluster = cluster_issuer(settings)
        self._policy = KeyCachePolicy(
            refresh_seconds=settings.issuer_fresh_seconds / 2,
            fresh_seconds=settings.issuer_fresh_seconds,
            max_age_seconds=settings.issuer_fresh_seconds + settings.issuer_stale_seconds,
            retry_seconds=settings.issuer_retry_seconds,
            refetch_seconds=settings.issuer_refetch_seconds,
            failed_refetch_seconds=settings.issuer_refetch_seconds,
            max_retry_factor=MAX_RETRY_FACTOR,
            retries_in_background=True,
        )
        self._entries: OrderedDict[str, _IssuerEntry] = OrderedDict()
        self._key_count = 0
        self._fast_issuers = asyncio.Semaphore(MAX_FETCHES)
        self._slow_issuers = asyncio.Semaphore(MAX_FETCHES)

    async def find_keys(self, issuer: str, key_id: str) -> Sequence[jose.PublicKey]:
        """Return the keys that an issuer publishes under a key ID; empty if there is none.

        Raises IssuerUnavailable.
        """
        try:
            return await self._entry(issuer).keys.find(key_id)
        except NoUsableKeys as exc:
            if isinstance(exc.failure, IssuerUnavailable):
                raise exc.failure from exc
            raise IssuerUnavailable("the issuer's keys are too old", reason="stale") from exc

    def clear(self) -> None:
        """Drop the keys of all issuers; the next request of each issuer fetches them."""
        self._entries.clear()
        self._key_count = 0

    def _entry(self, issuer: str) -> _IssuerEntry:
        entry = self._entries.get(issuer)
        if entry is None:
            entry = self._entries[issuer] = _IssuerEntry()
            entry.keys = KeyCache(
                partial(self._fetch, issuer, entry),
                self._policy,
                self._clock,
                on_stored=partial(self._count_keys, issuer, entry),
            )
            self._evict()
        else:
            self._entries.move_to_end(issuer)
        return entry

    def _count_keys(self, issuer: str, entry: _IssuerEntry, added: int) -> None:
        # An entry that was evicted during its fetch no longer counts.
        if self._entries.get(issuer) is entry:
            self._key_count += added
        self._evict()

    def _evict(self) -> None:
        """Evict the least recently used issuers."""
        while len(self._entries) > MAX_ISSUERS or (
            self._key_count > MAX_KEYS and len(self._entries) > 1
        ):
            _, evicted = self._entries.popitem(last=False)
            self._key_count -= evicted.keys.size

    async def _fetch(self, issuer: str, entry: _IssuerEntry) -> KeysById:
        """Fetch an issuer's keys. Raises IssuerUnavailable."""
        is_fast = entry.keys.is_healthy and entry.fetch_seconds < FAST_SECONDS
        slots = self._fast_issuers if is_fast else self._slow_issuers
        time = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(FETCH_SECONDS), slots:
                began = time()
                keys = await fetch_keys(
                    self._fetcher, issuer, self._settings.jwks_origins, self._cluster
                )
                entry.fetch_seconds = time() - began
        except TimeoutError as exc:
            timeout = IssuerUnavailable("the issuer took too long", reason="timeout")
            raise _log_failure(issuer, timeout) from exc
        except Error as exc:
            raise _log_failure(issuer, exc) from exc
        _log.info("issuer_keys_fetched", extra={"iss": issuer, "keys": len(keys)})
        return keys


def cluster_issuer(settings: AuthoritySettings) -> ClusterIssuer | None:
    """Return the issuer of the operator's cluster, if the settings name one."""
    if not settings.cluster_issuer:
        return None
    return ClusterIssuer(
        issuer=settings.cluster_issuer,
        server=settings.cluster_server,
        ca_file=settings.cluster_ca_file,
        token_file=settings.cluster_token_file,
    )


def _log_failure(issuer: str, failure: Error) -> IssuerUnavailable:
    """Log why a fetch failed; return the error for the requests that wait for it."""
    reason = str(failure.facts.get("reason", failure.code))
    problem = describe_reason(reason)
    _log.warning(
        "issuer_keys_fetch_failed",
        extra={"iss": issuer, **failure.facts, "reason": reason, "problem": problem},
    )
    return IssuerUnavailable(failure.message, reason=reason)
