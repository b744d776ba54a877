"""The token service's signing keys: in the database, sealed, and the same at every replica.

What is signed with which key follows from the time alone (`key_schedule`); replicas only have to have read
the same rows. One that has not read them for too long does not sign: others may have withdrawn its key.
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
from podpass.exchange.signing import (
    key,
    key_store,
    legacy_files,
    transactions,
)
from podpass.exchange.signing import (
    schedule as key_schedule,
)
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.signing.key_store import TOPIC, Found, OpenedKey, sealer_of
from podpass.exchange.signing.schedule import Schedule, Slot
from podpass.exchange.signing.token_sealer import Seal
from podpass.exchange.signing.transactions import Told

_log = logging.getLogger(__name__)

_POLL_SECONDS = 30.0
_LEAST_WAIT_SECONDS = 0.02
_FIRST_TRY_AGAIN_SECONDS = 1.0
_CATCH_UP_SECONDS = 2.0
_ANEW = "give this replica the sealing key file that they were made with, and start it again"


class KeysStale(DatabaseBusy):
    """The keys were not read for so long that others may have withdrawn the one that would sign."""

    code = "authority_keys_stale"
    hint = "see whether this replica reaches the database, and its clock is right"


class KeyNotRetired(Error):
    """A key cannot be withdrawn: it signs, it is to sign, or it is not here."""

    code = "authority_key_not_retired"


class AuthorityKeys:
    """The keys of one token service, as this process has read them."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        clock: Clock = system,
        schedule: Schedule | None = None,
        *,
        ticks: Clock = time.monotonic,
    ) -> None:
        self.database = database
        self.seal = Seal(os.urandom(KEY_BYTES))
        self.schedule = schedule or Schedule()
        self._sealer = sealer
        self._clock = clock
        self._ticks = ticks
        self._slots: Sequence[Slot] = ()
        self._opened: Mapping[str, OpenedKey] = {}
        self._published: Sequence[AuthorityKey] = ()
        self._watched: Mapping[str, float] = {}
        self._spare: Sequence[AuthorityKey] = ()
        self.damaged: Sequence[str] = ()
        self._read_at = float("-inf")
        self._since, self._until = float("inf"), float("-inf")
        self._active: jose.SigningKey
        self._reading = asyncio.Lock()
        self._catching_up = asyncio.Lock()
        self._is_running = False
        self._wake = asyncio.Event()
        database.listen(TOPIC, self._wake.set)

    @classmethod
    async def open(
        cls,
        database: Database,
        sealing: Path | bytes,
        clock: Clock = system,
        schedule: Schedule | None = None,
        *,
        files: Path | None = None,
        ticks: Clock = time.monotonic,
    ) -> "AuthorityKeys":
        """Read the keys of a database; make them, and the file of the sealing key, if it has none yet.

        Shapes:  `sealing` is the sealing key or its file; `files` a folder with keys of an earlier
                 version, which are taken over into a database without keys and then removed.
        Errors:  AuthorityKeysError, SealingKeyUnfit, KeyFilesUnfit, DatabaseUnusable, DatabaseFailed.
        """
        await prepare(database)
        is_new = (await database.read(key_store.read)).is_empty
        keys = cls(database, sealer_of(sealing, make=is_new), clock, schedule, ticks=ticks)
        if is_new:
            await keys._begin(files)
        found = await database.read(key_store.read)
        key_store.check(found, keys._sealer, keys._opened)
        await keys.keep() if is_new else await keys.refresh()
        # Only now, when they have been read back from the database.
        if files is not None and (left := legacy_files.remove(files, keys._opened)):
            _log.warning("old_key_files_left", extra={"files": [path.name for path in left]})
        return keys

    # --------------------------------------------------------------------------------------- hot path

    @property
    def active(self) -> jose.SigningKey:
        """Give the key that signs.

        Errors:  KeysStale.
        """
        if not self._since <= self._clock() < self._until:
            self._choose()
        return self._active

    async def current(self) -> jose.SigningKey:
        """Give the key that signs, read anew first where it was not read for too long.

        A laptop that wakes up, and a clock that is put right, are no reason to refuse anybody.
        Errors:  KeysStale, where they cannot be read now either.
        """
        with suppress(KeysStale):
            return self.active
        with suppress(Error, TimeoutError):
            async with asyncio.timeout(_CATCH_UP_SECONDS), self._catching_up:
                if not self._since <= self._clock() < self._until:
                    await self.refresh()  # nobody has while we waited
        return self.active

    @property
    def published(self) -> Sequence[AuthorityKey]:
        """Give every key that a token may be signed with, now or soon."""
        return self._published

    @property
    def slots(self) -> Sequence[Slot]:
        """Tell when each of them signs, in that order."""
        return self._slots

    def _choose(self) -> None:
        if not self._slots:
            raise KeysStale(
                "all signing keys were replaced, and the new ones do not open", hint=_ANEW
            )
        now = self._clock()
        since, until = key_schedule.bounds(self._slots, now)
        if self._is_running:
            stale = self.schedule.stale_seconds
            since, until = max(since, self._read_at - stale), min(until, self._read_at + stale)
            if not since <= now < until:
                self._wake.set()
                raise KeysStale("the signing keys were not read for too long")
        self._since, self._until = since, until
        kid = key_schedule.active(self._slots, now).kid
        self._active = self._opened[kid].key.signing

    # ----------------------------------------------------------------------------------- what is read

    async def refresh(self) -> None:
        """Read what the replicas agreed on; a key that is damaged is told of.

        One that was read before stays as it was while its row does. A key without a row is withdrawn, and
        believed no more: nothing is left where all were replaced under another sealing key.

        Errors:  DatabaseFailed.
        """
        # One after the other: an older answer must not take the place of a newer one.
        async with self._reading:
            self._wake.clear()
            began = self._clock()
            found = await self.database.read(key_store.read)
            looked = key_store.open_all(found, self._sealer, self._opened)
            self.damaged = looked.damaged
            if self.damaged:
                _log.error("signing_keys_damaged", extra={"kids": self.damaged})
            self._take(found, looked.with_those_known(self._opened), began)

    def _take(self, found: Found, keys: Mapping[str, OpenedKey], began: float) -> None:
        known = (slot for slot in self._slots if slot.kid in found.timeless)
        slots = [slot for slot in (*found.slots, *known) if slot.kid in keys]
        if (seal := key_store.open_seal(found, self._sealer)) is not None:
            self.seal.use(seal)
        self._opened = keys
        self._slots = key_schedule.in_order(slots)
        self._published = tuple(keys[slot.kid].key for slot in self._slots)
        self._read_at = began
        self._watched = key_schedule.watch(self._watched, slots, self._clock(), self._ticks())
        self._since, self._until = float("inf"), float("-inf")

    # ------------------------------------------------------------------------------- what is agreed on

    async def keep(self) -> None:
        """Read, make the key that has to come, put a misplaced one right, delete those that are spent.

        Errors:  DatabaseFailed.
        """
        await self.refresh()
        await self._put_right()

    async def _put_right(self) -> None:
        if not self._slots:
            return
        now = self._clock()
        is_due = key_schedule.due(self._slots, now, self.schedule) is not None
        spent = key_schedule.spent(self._watched, self._ticks(), self.schedule)
        if not is_due:
            # Where nobody knew whether it was written, it was.
            self._spare = ()
        if not (is_due or spent or key_schedule.misplaced(self._slots, now, self.schedule)):
            return
        if is_due and not self._spare:
            # Before the transaction: it takes long, and another replica's may be quicker. What cannot be
            # written now is not made again for the next try.
            self._spare = await key.several(1, now)
        made = self._spare
        await self._write(
            lambda connection: transactions.keep(
                connection, self._sealer, self.schedule, made=made, spent=spent, now=self._clock()
            )
        )
        self._spare = ()

    async def rotate(self, *, at_once: bool = False) -> Slot:
        """Let the next key sign as soon as it has been published for long enough; give its place in time.

        Shapes:  `at_once` does not wait for that: consumers that keep keys and do not ask again for one
                 they do not know refuse tokens until they do.
        Errors:  DatabaseFailed.
        """
        # The key that signed when it was asked for: of two who ask at the same moment, one has it replaced.
        replaces = key_schedule.active(self._slots, self._clock())
        await self.keep()
        await self._write(
            lambda connection: transactions.bring_forward(
                connection,
                self.schedule,
                replaces=replaces.kid,
                at_once=at_once,
                now=self._clock(),
            )
        )
        await self.keep()
        return next(slot for slot in self._slots if slot.order > replaces.order)

    async def retire(self, kid: str) -> None:
        """Withdraw a key that is out of use; the tokens it signed are worthless from then on.

        Shapes:  one that is damaged may go too, if it is still to come, or if nobody can tell from its row
                 when it signs: another is made.
        Errors:  KeyNotRetired for the active and the coming key, and for one that is not here.
        """
        if not await self._write(
            lambda connection: transactions.withdraw(
                connection, self._sealer, kid, now=self._clock()
            )
        ):
            raise KeyNotRetired(
                "no such key among those out of use or damaged",
                hint="list them with `podpass authority keys`; one that signs is rotated first",
                kid=kid,
            )

    async def replace_all(self) -> None:
        """Make new keys, sign with them at once, withdraw every other: for keys that leaked, or are lost.

        Errors:  DatabaseFailed.
        """
        now = self._clock()
        made = await key.several(2, now)
        await self._write(
            lambda connection: transactions.replace_all(
                connection, self._sealer, self.schedule, made=made, now=now
            )
        )

    async def _begin(self, files: Path | None) -> None:
        now = self._clock()
        old = None if files is None else legacy_files.read(files, now, self.schedule)
        made = await key.several(2, now) if old is None or not old.keys else []
        await self._write(
            lambda connection: transactions.begin(
                connection, self._sealer, self.schedule, old=old, made=made, now=now
            )
        )

    async def _write(self, step: Callable[[Connection], Sequence[Told]]) -> Sequence[Told]:
        told = await self.database.write(step, tells=(TOPIC,))
        for event, facts in told:
            _log.info(event, extra=facts)
        await self.refresh()
        return told

    @asynccontextmanager
    async def running(
        self, lost: Callable[[], None] = lambda: None
    ) -> AsyncIterator["AuthorityKeys"]:
        """Keep in step with the database, and make and remove keys on schedule; tell when none is left."""
        await self.keep()
        self._is_running = True
        self._since, self._until = float("inf"), float("-inf")
        task = asyncio.create_task(self._run(lost), name="authority-keys")
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._is_running = False

    async def _run(self, lost: Callable[[], None]) -> None:
        again, wait = self._ticks(), _FIRST_TRY_AGAIN_SECONDS
        while True:
            with suppress(TimeoutError):
                # Not `wait_for`: on Python 3.11 it forgets that it was cancelled when woken in the same turn.
                async with asyncio.timeout(self._pause(again)):
                    await self._wake.wait()
            try:
                await self.refresh()
                if not self._slots:
                    _log.error("signing_keys_gone", extra={"kids": self.damaged})
                    lost()
                if self._ticks() >= again:
                    await self._put_right()
                    wait = _FIRST_TRY_AGAIN_SECONDS
            except Error as exc:
                # What others withdraw is heard of as soon as ever. To change something waits, whatever
                # wakes us: a full disk wakes whoever fails to write to it.
                again, wait = self._ticks() + wait, min(2 * wait, _POLL_SECONDS)
                _log.warning("signing_keys_not_kept", extra={"cause": exc.message, **exc.facts})
                await asyncio.sleep(_LEAST_WAIT_SECONDS)
            except Exception:  # noqa: BLE001 the task must outlive a bug, or rotation ends unseen
                _log.exception("signing_keys_not_kept")
                await asyncio.sleep(1)

    def _pause(self, again: float) -> float:
        """Tell how long nothing is to be done, if nobody writes."""
        now = self._clock()
        most = min(_POLL_SECONDS, self.schedule.stale_seconds / 4)
        if (left := again - self._ticks()) > 0:
            most = min(most, left)
        after = key_schedule.coming(self._slots, now) if self._slots else None
        turn = most if after is None else after.activates - now
        return max(_LEAST_WAIT_SECONDS, min(most, turn))


async def prepare(database: Database) -> None:
    """Make the tables, or bring them up to date.

    Errors:  DatabaseUnusable.
    """
    if not database.is_open:
        await database.open()
    await database.prepare(metadata, CHAIN)
