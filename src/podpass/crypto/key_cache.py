"""A cache of the public keys that one issuer publishes. One fetch serves all callers; the age is limited.

    age of the keys           what a request gets
    below `refresh_seconds`   the cached keys
    below `fresh_seconds`     the cached keys; a fetch starts in the background
    below `max_age_seconds`   it waits for a fetch; if the fetch fails, the cached keys
    above                     it waits for a fetch; if the fetch fails, NoUsableKeys

A flood of unknown key IDs does not cause a flood of fetches: an unknown key ID starts at most one fetch per
interval, and after a failure the cache waits before the next fetch, with a bounded backoff.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from podpass.clock import Clock
from podpass.crypto.jose import PublicKey
from podpass.errors import Error

KeysById = Mapping[str, Sequence[PublicKey]]

# The event loop holds weak references to tasks only; a cache may be evicted while it fetches.
_TASKS: set[asyncio.Task[None]] = set()


class NoUsableKeys(Error):
    """No key was fetched yet, or the fetched keys are too old; `failure` is the error of the last fetch."""

    code = "no_usable_keys"

    def __init__(self, failure: Error | None) -> None:
        super().__init__("the cached keys are too old" if failure is None else failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCachePolicy:
    """The times of a key cache.

    `retry_seconds` doubles with each failure in a row, up to `max_retry_factor` times; `refetch_seconds` is
    the interval for unknown key IDs, `failed_refetch_seconds` the same after a failed fetch. With
    `retries_in_background`, a request that has usable keys does not wait for an issuer that failed recently.
    Units: seconds; ages count from the last successful fetch.
    """

    refresh_seconds: float
    fresh_seconds: float
    max_age_seconds: float
    retry_seconds: float
    refetch_seconds: float
    failed_refetch_seconds: float
    max_retry_factor: int = 1
    retries_in_background: bool = False


class KeyCache:
    """The keys of one issuer.

    `on_stored` is called after each successful fetch with the change of the number of keys.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[KeysById]],
        policy: KeyCachePolicy,
        clock: Clock,
        *,
        on_stored: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._fetch = fetch
        self._policy = policy
        self._clock = clock
        self._on_stored = on_stored
        self._keys: KeysById | None = None
        self._fetched = 0.0
        self._attempted = self._failed = float("-inf")
        self._failures = 0
        self._failure: Error | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> Sequence[PublicKey]:
        """Return the keys published under a key ID; empty if there is none. Raises NoUsableKeys."""
        age = self._age(self._fetched)
        if self._keys is None or age >= self._policy.refresh_seconds:
            fetching = self._start_fetch(self._retry_delay())
            # Shielded: a caller that is cancelled must not cancel the fetch of the other callers.
            if fetching is not None and self._must_wait(age):
                await asyncio.shield(fetching)
        found = self._usable_keys().get(key_id)
        if found is None:
            fetching = self._start_fetch(self._refetch_interval())
            if fetching is not None:
                await asyncio.shield(fetching)
            found = self._usable_keys().get(key_id, ())
        return found

    @property
    def is_healthy(self) -> bool:
        """Return whether the last fetch succeeded."""
        return self._keys is not None and not self._failures

    @property
    def size(self) -> int:
        """Return the number of cached keys."""
        return sum(map(len, self._keys.values())) if self._keys else 0

    def _age(self, since: float) -> float:
        age = self._clock() - since
        # A time in the future counts as old: otherwise a clock that was set back would keep a withdrawn key
        # valid.
        return age if age >= 0 else float("inf")

    def _must_wait(self, age: float) -> bool:
        if self._keys is None or age >= self._policy.max_age_seconds:
            return True
        if age < self._policy.fresh_seconds:
            return False
        if not self._policy.retries_in_background or not self._failures:
            return True
        return self._age(self._failed) >= 2 * self._retry_delay()

    def _retry_delay(self) -> float:
        """Return the seconds that the cache waits after the last failure."""
        if not self._failures:
            return 0
        factor: int = min(2 ** min(self._failures - 1, 8), self._policy.max_retry_factor)
        return self._policy.retry_seconds * factor

    def _refetch_interval(self) -> float:
        policy = self._policy
        return policy.failed_refetch_seconds if self._failures else policy.refetch_seconds

    def _usable_keys(self) -> KeysById:
        if self._keys is not None and self._age(self._fetched) < self._policy.max_age_seconds:
            return self._keys
        raise NoUsableKeys(self._failure)

    def _start_fetch(self, interval: float) -> asyncio.Task[None] | None:
        """Return the fetch in flight, or start one if the last was at least `interval` ago."""
        if self._fetching is None and self._age(self._attempted) >= interval:
            self._attempted = self._clock()
            self._fetching = asyncio.create_task(self._fetch_and_store())
            _TASKS.add(self._fetching)
            self._fetching.add_done_callback(_TASKS.discard)
        return self._fetching

    async def _fetch_and_store(self) -> None:
        try:
            keys = await self._fetch()
        except Error as exc:
            self._attempted = self._failed = self._clock()
            self._failure = exc
            self._failures += 1
        else:
            before = self.size
            self._keys, self._fetched = keys, self._clock()
            self._failure, self._failures = None, 0
            self._on_stored(self.size - before)
        finally:
            self._fetching = None
