"""The signing keys of the token service: sealed in the database, and the same on every replica.

The schedule decides by time which key signs, so replicas that read the same rows sign with the same key. A
replica that has not read the rows for too long does not sign: another replica may have withdrawn its key.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection

from podpass.clock import Clock, system
from podpass.crypto import jose
from podpass.crypto.envelope import KEY_BYTES, Sealer
from podpass.database import Database, DatabaseBusy
from podpass.errors import Error
from podpass.exchange.schema import CHAIN, metadata
from podpass.exchange.signing import key, key_store, transactions
from podpass.exchange.signing import schedule as key_schedule
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.signing.key_store import TOPIC, StoredKeys, UnsealedKey, load_sealer
from podpass.exchange.signing.schedule import KeySchedule, ScheduledKey
from podpass.exchange.signing.token_sealer import TokenSealer
from podpass.exchange.signing.transactions import LogEvent

_log = logging.getLogger(__name__)

_POLL_SECONDS = 30.0
_MIN_PAUSE_SECONDS = 0.02
_FIRST_RETRY_SECONDS = 1.0
_LOG_SECONDS = 60.0
# How long a request waits for a read of stale keys.
_REFRESH_TIMEOUT_SECONDS = 2.0
_RESTART_HINT = "give this replica the sealing key file that seals them, then restart it"


class SigningKeysStale(DatabaseBusy):
    """The keys were not read for so long that another replica may have withdrawn the active key."""

    code = "signing_keys_stale"
    hint = "check that this replica can reach the database and that its clock is correct"


class KeyNotRetired(Error):
    """A key cannot be withdrawn: it is the active key, the next key, or not in the database."""

    code = "authority_key_not_retired"


class AuthorityKeys:
    """The signing keys of one token service, as this process last read them."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        clock: Clock = system,
        schedule: KeySchedule | None = None,
        *,
        ticks: Clock = time.monotonic,
    ) -> None:
        self.database = database
        self.token_sealer = TokenSealer(os.urandom(KEY_BYTES))
        self.schedule = schedule or KeySchedule()
        self._sealer = sealer
        self._clock = clock
        self._ticks = ticks
        self._slots: Sequence[ScheduledKey] = ()
        self._unsealed: Mapping[str, UnsealedKey] = {}
        self._published: Sequence[AuthorityKey] = ()
        self._out_of_use: Mapping[str, float] = {}
        self._new_keys: Sequence[AuthorityKey] = ()
        self.damaged: Sequence[str] = ()
        self._read_at = float("-inf")
        self._since, self._until = float("inf"), float("-inf")
        self._active: jose.SigningKey
        self._refresh_lock = asyncio.Lock()
        self._catch_up_lock = asyncio.Lock()
        self._is_running = False
        self._wake = asyncio.Event()
        database.subscribe(TOPIC, self._wake.set)

    @classmethod
    async def open(
        cls,
        database: Database,
        sealing: Path | bytes,
        clock: Clock = system,
        schedule: KeySchedule | None = None,
        *,
        ticks: Clock = time.monotonic,
    ) -> "AuthorityKeys":
        """Read the keys of a database; create them, and the sealing key file, if it has none yet.

        `sealing` is the sealing key or its file. Raises DamagedKeysError, InvalidSealingKey,
        DatabaseUnusable, DatabaseFailed.
        """
        await prepare_tables(database)
        is_new = (await database.read(key_store.read_keys)).is_empty
        keys = cls(database, load_sealer(sealing, make=is_new), clock, schedule, ticks=ticks)
        if is_new:
            await keys._initialize()
        found = await database.read(key_store.read_keys)
        key_store.require_intact(found, keys._sealer, keys._unsealed)
        await keys.ensure_keys() if is_new else await keys.refresh()
        return keys

    # --------------------------------------------------------------------------------------- hot path

    @property
    def active(self) -> jose.SigningKey:
        """Return the key that signs now. Raises SigningKeysStale."""
        if not self._since <= self._clock() < self._until:
            self._select_active()
        return self._active

    async def current(self) -> jose.SigningKey:
        """Return the key that signs now; if the keys are stale, read them first.

        So no request is refused after a laptop wakes from sleep or a clock is corrected.

        Raises SigningKeysStale, if the keys cannot be read.
        """
        with suppress(SigningKeysStale):
            return self.active
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(_REFRESH_TIMEOUT_SECONDS), self._catch_up_lock:
                # Another request may have refreshed the keys while this one waited for the lock.
                if not self._since <= self._clock() < self._until:
                    await self.refresh()
        return self.active

    @property
    def published(self) -> Sequence[AuthorityKey]:
        """Return every key whose tokens consumers must accept, the next key included."""
        return self._published

    @property
    def slots(self) -> Sequence[ScheduledKey]:
        """Return the scheduled keys, ordered by activation time."""
        return self._slots

    def _select_active(self) -> None:
        if not self._slots:
            raise SigningKeysStale(
                "all signing keys were replaced, and this replica cannot unseal the new ones",
                hint=_RESTART_HINT,
            )
        now = self._clock()
        since, until = key_schedule.active_interval(self._slots, now)
        if self._is_running:
            stale = self.schedule.stale_seconds
            since, until = max(since, self._read_at - stale), min(until, self._read_at + stale)
            if not since <= now < until:
                self._wake.set()
                raise SigningKeysStale("the signing keys were not read for too long")
        self._since, self._until = since, until
        kid = key_schedule.active_key(self._slots, now).kid
        self._active = self._unsealed[kid].key.signing

    # ------------------------------------------------------------------------------------------ refresh

    async def refresh(self) -> None:
        """Read the keys from the database; log the damaged ones.

        A key whose row is damaged stays usable if it was read before. A key without a row was withdrawn and
        is no longer used. If all keys were replaced under another sealing key, no key remains.

        Raises DatabaseFailed.
        """
        # One read at a time, because an older result must not replace a newer one.
        async with self._refresh_lock:
            self._wake.clear()
            began = self._clock()
            found = await self.database.read(key_store.read_keys)
            unsealed = key_store.unseal_keys(found, self._sealer, self._unsealed)
            self.damaged = unsealed.damaged
            if self.damaged:
                _log.error("signing_keys_damaged", extra={"kids": self.damaged})
            self._apply(found, unsealed.with_known(self._unsealed), began)

    def _apply(self, found: StoredKeys, keys: Mapping[str, UnsealedKey], began: float) -> None:
        known = (slot for slot in self._slots if slot.kid in found.undated)
        slots = [slot for slot in (*found.slots, *known) if slot.kid in keys]
        if (seal := key_store.unseal_token_seal(found, self._sealer)) is not None:
            self.token_sealer.set_key(seal)
        self._unsealed = keys
        self._slots = key_schedule.sort_by_activation(slots)
        self._published = tuple(keys[slot.kid].key for slot in self._slots)
        self._read_at = began
        self._out_of_use = key_schedule.track_out_of_use(
            self._out_of_use, slots, self._clock(), self._ticks()
        )
        self._since, self._until = float("inf"), float("-inf")

    # ---------------------------------------------------------------------------------------- reconcile

    async def ensure_keys(self) -> None:
        """Read the keys, create the next key if it is due, reschedule a misplaced key, delete expired keys.

        Raises DatabaseFailed.
        """
        await self.refresh()
        await self._reconcile_schedule()

    async def _reconcile_schedule(self) -> None:
        if not self._slots:
            return
        now = self._clock()
        is_due = key_schedule.next_activation(self._slots, now, self.schedule) is not None
        expired = key_schedule.list_expired(self._out_of_use, self._ticks(), self.schedule)
        if not is_due:
            # An earlier write with an unknown result has succeeded.
            self._new_keys = ()
        if not (is_due or expired or key_schedule.find_misplaced(self._slots, now, self.schedule)):
            return
        if is_due and not self._new_keys:
            # Generated before the transaction, because it takes long. If the write fails, the next attempt
            # uses the same key.
            self._new_keys = await key.generate_keys(1, now)
        made = self._new_keys
        await self._run_transaction(
            lambda connection: transactions.reconcile(
                connection,
                self._sealer,
                self.schedule,
                made=made,
                expired=expired,
                now=self._clock(),
            )
        )
        self._new_keys = ()

    async def rotate(self, *, at_once: bool = False) -> ScheduledKey:
        """Activate the next key as soon as it has been published for long enough; return the scheduled key.

        `at_once` skips this wait: consumers that cache keys, and do not fetch again for an unknown key ID,
        refuse tokens until their cache expires. Raises DatabaseFailed.
        """
        # Pass the active key at the time of the request, so that two concurrent requests replace it once.
        replaces = key_schedule.active_key(self._slots, self._clock())
        await self.ensure_keys()
        await self._run_transaction(
            lambda connection: transactions.activate_earlier(
                connection, self.schedule, replaces=replaces.kid, at_once=at_once, now=self._clock()
            )
        )
        await self.ensure_keys()
        return next(slot for slot in self._slots if slot.order > replaces.order)

    async def retire(self, kid: str) -> None:
        """Withdraw a key that is out of use; consumers refuse its tokens from then on.

        A damaged key can be withdrawn too, if it is not active yet, or if its activation time cannot be read;
        a new key replaces it.

        Raises KeyNotRetired for the active key, the next key, and a key that is not in the database.
        """
        if not await self._run_transaction(
            lambda connection: transactions.withdraw(
                connection, self._sealer, kid, now=self._clock()
            )
        ):
            raise KeyNotRetired(
                "no key with this ID is out of use or damaged",
                hint="list the keys with `podpass authority keys`; rotate the active key first",
                kid=kid,
            )

    async def replace_all(self, generated: Sequence[key.AuthorityKey] = ()) -> None:
        """Create new keys, sign with them immediately, and withdraw all other keys, which leaked or are lost.

        `generated` are two keys of `generate_keys`, if the caller has some. Raises DatabaseFailed.
        """
        now = self._clock()
        made = generated or await key.generate_keys(2, now)
        await self._run_transaction(
            lambda connection: transactions.replace_all(
                connection, self._sealer, self.schedule, made=made, now=now
            )
        )

    async def _initialize(self) -> None:
        now = self._clock()
        made = await key.generate_keys(2, now)
        await self._run_transaction(
            lambda connection: transactions.initialize(
                connection, self._sealer, self.schedule, made=made, now=now
            )
        )

    async def _run_transaction(
        self, step: Callable[[Connection], Sequence[LogEvent]]
    ) -> Sequence[LogEvent]:
        events = await self.database.write(step, topics=(TOPIC,))
        for event, facts in events:
            _log.info(event, extra=facts)
        await self.refresh()
        return events

    @asynccontextmanager
    async def running(
        self, on_lost: Callable[[], None] = lambda: None
    ) -> AsyncIterator["AuthorityKeys"]:
        """Refresh and rotate the keys in the background; call `on_lost` when no key can be unsealed."""
        await self.ensure_keys()
        self._is_running = True
        self._since, self._until = float("inf"), float("-inf")
        task = asyncio.create_task(self._run(on_lost), name="authority-keys")
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._is_running = False

    async def _run(self, on_lost: Callable[[], None]) -> None:
        retry_at, backoff = self._ticks(), _FIRST_RETRY_SECONDS
        logged, log_again = "", self._ticks()
        while True:
            with suppress(TimeoutError):
                # Not `wait_for`: on Python 3.11 it loses a cancellation that arrives together with the event.
                async with asyncio.timeout(self._poll_timeout(retry_at)):
                    await self._wake.wait()
            try:
                await self.refresh()
                if not self._slots:
                    _log.error("signing_keys_missing", extra={"kids": self.damaged})
                    on_lost()
                if self._ticks() >= retry_at:
                    await self._reconcile_schedule()
                    backoff = _FIRST_RETRY_SECONDS
                logged = ""
            except Error as exc:
                # Only writes wait for the backoff, reads do not: a key that another replica withdraws must
                # stop immediately. A wake-up does not end the backoff, because a failed write itself causes a
                # wake-up.
                retry_at, backoff = self._ticks() + backoff, min(2 * backoff, _POLL_SECONDS)
                # Without a database this loop fails several times a second.
                if exc.message != logged or self._ticks() >= log_again:
                    logged, log_again = exc.message, self._ticks() + _LOG_SECONDS
                    facts = {"cause": exc.message, **exc.facts}
                    _log.warning("signing_key_reconcile_failed", extra=facts)
                await asyncio.sleep(_MIN_PAUSE_SECONDS)
            except Exception:  # noqa: BLE001 a bug must not end this task, and rotation with it
                _log.exception("signing_key_reconcile_failed")
                await asyncio.sleep(1)

    def _poll_timeout(self, retry_at: float) -> float:
        """Return the seconds to wait for a notification before the next read."""
        now = self._clock()
        longest = min(_POLL_SECONDS, self.schedule.stale_seconds / 4)
        if (left := retry_at - self._ticks()) > 0:
            longest = min(longest, left)
        after = key_schedule.next_key(self._slots, now) if self._slots else None
        until_rotation = longest if after is None else after.activates - now
        return max(_MIN_PAUSE_SECONDS, min(longest, until_rotation))


async def prepare_tables(database: Database) -> None:
    """Create the tables, or migrate them to the current version. Raises DatabaseUnusable."""
    if not database.is_open:
        await database.open()
    await database.prepare(metadata, CHAIN)
