"""Scheduled work of the vaults: purge expired and orphaned objects, rotate keys, renew certificates.

No request runs or awaits this work: it would wait for the objects of other callers.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from podpass import names
from podpass.clock import Clock
from podpass.database import CorruptRowError, DatabaseFailed
from podpass.errors import Error
from podpass.lab.services.vault.certificates import issuing
from podpass.lab.services.vault.errors import OutdatedState
from podpass.lab.services.vault.keys import rotation
from podpass.lab.services.vault.model import (
    CERTIFICATES,
    KEYS,
    AuditContext,
    ObjectState,
    kind_of,
    vault_key,
    vault_of,
)
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults
from podpass.tasks import background_task

_log = logging.getLogger(__name__)

INTERVAL_SECONDS = 60.0
_BATCH = 100
_DAY = 24 * 3600
# The action gets the object, and an audit context without an action.
_ACTIONS: Mapping[str, Callable[[VaultStore, ObjectState, AuditContext], Awaitable[None]]] = {
    KEYS.suffix: rotation.run_due,
    CERTIFICATES.suffix: issuing.run_due,
}


class Maintenance:
    """The scheduled work of all vaults of an instance."""

    def __init__(self, vaults: Vaults, store: VaultStore, clock: Clock) -> None:
        self._vaults = vaults
        self._store = store
        self._clock = clock
        self._busy = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def running(self, interval_seconds: float = INTERVAL_SECONDS) -> AsyncIterator[None]:
        """Catch up now and at an interval, in the background, until the context ends."""
        async with background_task(self._run(interval_seconds), "maintenance of vaults"):
            yield

    async def _run(self, interval_seconds: float) -> None:
        while True:
            # The next attempt may succeed, and a bug must not stop the other work.
            try:
                await self.catch_up()
            except DatabaseFailed as exc:
                _log.error("vault_maintenance_failed", extra={"stage": "resource", **exc.facts})
            except Exception:  # noqa: BLE001
                _log.exception("vault_maintenance_failed", extra={"stage": "resource"})
            await asyncio.sleep(interval_seconds)

    async def catch_up(self) -> None:
        """Do everything that is due, one action after the other. Raises DatabaseFailed."""
        async with self._busy:
            await self._purge()
            await self._run_actions(self._clock())

    async def _purge(self) -> None:
        await self._vaults.purge_expired()
        purged = await self._store.purge_expired(self._clock())
        # Secrets are read before vaults: secrets of a vault that is created in between are no orphans.
        stored = await self._store.vaults()
        orphans = stored - await self._vaults.uids()
        if orphans:
            purged += await self._store.clear(orphans)
        if purged:
            _log.info("secrets_purged", extra={"secrets": purged, "vaults": sorted(orphans)})

    async def _run_actions(self, now: float) -> None:
        found = await self._store.due(now, limit=_BATCH)
        if not found:
            return
        vaults = {vault_key(vault): vault for vault in await self._vaults.list()}
        while found:
            for each in found:
                # The objects of a deleted vault stay as they are.
                if (vault := vaults.get(vault_of(each.collection))) is not None:
                    await self._run_action(each, vault.name, now)
            found = await self._store.due(now, limit=_BATCH, after=found[-1])

    async def _run_action(self, found: ObjectState, vault: str, now: float) -> None:
        """Run an action; remove it if it fails: it would fail again, and generate a key each time.

        The next change of the object or its policy plans it again.
        """
        kind, base = kind_of(found.collection), f"https://{vault}.{names.VAULT_SUFFIX}"
        # An action that is still due after its success, such as a renewal by a CA that expires soon,
        # would repeat at every run.
        later: int | None = int(now) + _DAY
        try:
            await _ACTIONS[kind.suffix](
                self._store, found, AuditContext(action="", base=base, now=now)
            )
        except OutdatedState:
            # Another request has changed the object, and has planned its next action.
            return
        except Exception as exc:
            # An unreadable row must not stop other actions; other failures of the database are raised.
            if isinstance(exc, DatabaseFailed) and not isinstance(exc, CorruptRowError):
                raise
            later = None
            facts = {"cause": exc.message, **exc.facts} if isinstance(exc, Error) else {}
            extra = {"stage": "resource", "vault": vault, kind.noun: found.name, **facts}
            _log.error("vault_action_failed", extra=extra, exc_info=exc)
        await self._store.put_off(found, now, later)
