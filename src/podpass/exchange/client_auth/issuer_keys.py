"""The keys of issuers that a credential trusts: fetched by discovery, kept for a while, never for ever.

    age of the keys            what a request gets
    0 .. half of fresh         the keys
    .. fresh                   the keys; they are fetched again behind its back
    .. fresh + stale           it waits for a fetch; if that fails, the keys
    beyond                     it waits for a fetch; if that fails, the issuer is down

So an issuer in use delays nobody, and a key withdrawn from it stops working within `issuer_fresh_seconds`
of the fetch that still had it; while the issuer is down, within the longer time.

A flood of bad tokens is no flood of fetches: an unknown `kid` fetches at most once an interval, an issuer
that fails is left alone for a while, longer each time, and issuers that have never answered share a
lane of their own. Callers must have matched the issuer to a credential first.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from podpass.clock import Clock
from podpass.crypto import jose
from podpass.errors import Error
from podpass.exchange.client_auth.issuer_discovery import (
    IssuerDown,
    Keys,
    Source,
    fetch_keys,
)
from podpass.settings import AuthoritySettings

_log = logging.getLogger(__name__)

MAX_ISSUERS = 10_000
MAX_KEYS = 20_000  # of all issuers together; 3 KB each
# Fetches at once, of issuers that answer quickly and of all others: who registers slow ones takes no place
# from those in use.
LANE = 64
# Whoever answers more slowly than this waits with those that do not answer.
QUICK_SECONDS = 1.0
# For everything: waiting in the lane, two names, two documents.
FETCH_SECONDS = 3.0
# An issuer that fails again and again is asked this many times less often.
_MOST_PATIENCE = 6


@dataclass(slots=True, kw_only=True)
class _Entry:
    """What is known of one issuer.

    Units:   seconds since the epoch; `keys` None until a fetch has succeeded; `failures` in a row; `took`
             seconds for the last fetch.
    """

    keys: Keys | None = None
    fetched: float = 0.0
    tried: float = float("-inf")
    failed: float = float("-inf")
    failures: int = 0
    failure: IssuerDown | None = None
    took: float = float("inf")
    fetching: asyncio.Task[None] | None = None


class Issuers:
    """A cache of issuers' signing keys."""

    def __init__(self, source: Source, settings: AuthoritySettings, clock: Clock) -> None:
        self._source = source
        self._settings = settings
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._held = 0
        self._quick = asyncio.Semaphore(LANE)
        self._others = asyncio.Semaphore(LANE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def keys(self, issuer: str, key_id: str) -> Sequence[jose.PublicKey]:
        """Give the keys an issuer publishes under an id; none when it publishes no such key.

        Errors:  IssuerDown.
        """
        entry, fresh = self._entry(issuer), self._settings.issuer_fresh_seconds
        age = self._age(entry.fetched)
        if entry.keys is None or age >= fresh / 2:
            fetching = self._begin(issuer, entry, self._patience(entry))
            # Shielded: a caller who hangs up must not take the others' answer with him.
            if fetching is not None and self._must_wait(entry, age):
                await asyncio.shield(fetching)
        found = self._usable(entry).get(key_id)
        if found is None:
            fetching = self._begin(issuer, entry, self._settings.issuer_refetch_seconds)
            if fetching is not None:
                await asyncio.shield(fetching)
            found = self._usable(entry).get(key_id, ())
        return found

    # ------------------------------------------------------------------------------------------- age

    def _age(self, since: float) -> float:
        age = self._clock() - since
        # A clock set back would keep a withdrawn key alive: what seems to come from the future is old.
        return age if age >= 0 else float("inf")

    @property
    def _longest(self) -> float:
        return self._settings.issuer_fresh_seconds + self._settings.issuer_stale_seconds

    def _must_wait(self, entry: _Entry, age: float) -> bool:
        if entry.keys is None or age >= self._longest:
            return True
        if age < self._settings.issuer_fresh_seconds:
            return False
        # An issuer that was found down a moment ago is asked again behind everybody's back.
        return not entry.failures or self._age(entry.failed) >= 2 * self._patience(entry)

    def _patience(self, entry: _Entry) -> float:
        """Say how long an issuer is left alone after its last failure."""
        if not entry.failures:
            return 0
        retry = self._settings.issuer_retry_seconds
        return float(retry * min(2 ** min(entry.failures - 1, 8), _MOST_PATIENCE))

    def _usable(self, entry: _Entry) -> Keys:
        if entry.keys is not None and self._age(entry.fetched) < self._longest:
            return entry.keys
        raise entry.failure or IssuerDown("the issuer's keys are too old", reason="stale")

    # ---------------------------------------------------------------------------------------- memory

    def _entry(self, issuer: str) -> _Entry:
        entry = self._entries.get(issuer)
        if entry is None:
            entry = self._entries[issuer] = _Entry()
            self._forget()
        else:
            self._entries.move_to_end(issuer)
        return entry

    def _forget(self) -> None:
        """Let go of whom nobody has asked for the longest; who is in use is not pushed out by others."""
        while len(self._entries) > MAX_ISSUERS or (
            self._held > MAX_KEYS and len(self._entries) > 1
        ):
            _, gone = self._entries.popitem(last=False)
            self._held -= _count(gone.keys)

    # -------------------------------------------------------------------------------------- fetching

    def _begin(self, issuer: str, entry: _Entry, interval: float) -> asyncio.Task[None] | None:
        """Join the fetch that is under way, or begin one if the last is an interval ago."""
        if entry.fetching is None and self._age(entry.tried) >= interval:
            entry.tried = self._clock()
            entry.fetching = asyncio.create_task(self._fetch_into(issuer, entry))
            self._tasks.add(entry.fetching)
            entry.fetching.add_done_callback(self._tasks.discard)
        return entry.fetching

    async def _fetch_into(self, issuer: str, entry: _Entry) -> None:
        is_quick = entry.keys is not None and not entry.failures and entry.took < QUICK_SECONDS
        time = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(FETCH_SECONDS), self._quick if is_quick else self._others:
                began = time()
                keys = await fetch_keys(self._source, issuer, self._settings.jwks_origins)
                entry.took = time() - began
            self._keep(issuer, entry, keys)
        except TimeoutError:
            self._note(issuer, entry, IssuerDown("the issuer took too long", reason="timeout"))
        except Error as exc:
            self._note(issuer, entry, exc)
        finally:
            entry.fetching = None

    def _keep(self, issuer: str, entry: _Entry, keys: Keys) -> None:
        if self._entries.get(issuer) is entry:
            self._held += _count(keys) - _count(entry.keys)
        entry.keys, entry.fetched = keys, self._clock()
        entry.failure, entry.failures = None, 0
        self._forget()
        _log.info("issuer_keys_fetched", extra={"iss": issuer, "keys": len(keys)})

    def _note(self, issuer: str, entry: _Entry, failure: Error) -> None:
        reason = failure.facts.get("reason", failure.code)
        entry.failure, entry.failed = IssuerDown(failure.message, reason=reason), self._clock()
        entry.failures += 1
        facts = {"iss": issuer, **failure.facts, "reason": reason}
        _log.warning("issuer_keys_not_fetched", extra=facts)


def _count(keys: Keys | None) -> int:
    return sum(len(several) for several in keys.values()) if keys else 0
