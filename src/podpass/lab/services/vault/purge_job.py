"""The periodic work of the vaults: purge what is expired or has no vault, run the actions that are due."""

import asyncio
import contextlib
import logging
from typing import Self

from podpass.clock import Clock
from podpass.database import DatabaseFailed
from podpass.lab.services.vault import due
from podpass.lab.services.vault.authorization import VaultDirectory
from podpass.lab.services.vault.store import SecretStore

_log = logging.getLogger(__name__)

INTERVAL_SECONDS = 600.0


async def purge(directory: VaultDirectory, store: SecretStore, clock: Clock) -> int:
    """Purge expired vaults and secrets, and secrets without a vault; return the number of secrets."""
    await directory.vaults.purge_expired()
    purged = await store.purge_expired(clock())
    # Secrets are read before vaults, so that secrets of a vault that is created in between do not count as
    # orphans.
    stored = await store.vaults()
    orphans = stored - await directory.vaults.uids()
    if orphans:
        purged += await store.clear(orphans)
    if purged:
        _log.info("secrets_purged", extra={"secrets": purged, "vaults": sorted(orphans)})
    return purged


class PurgeJob:
    """Purges vaults and secrets at the start and at an interval, until the context ends."""

    def __init__(
        self,
        directory: VaultDirectory,
        store: SecretStore,
        clock: Clock,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._directory = directory
        self._store = store
        self._clock = clock
        self._interval = interval_seconds
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._work()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None, "the context was not entered"
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self._work()

    async def _work(self) -> None:
        # A failure must not prevent the start, and the next attempt may succeed.
        try:
            await purge(self._directory, self._store, self._clock)
            await due.run(self._directory, self._store, self._clock())
        except DatabaseFailed as exc:
            _log.error("purge_failed", extra={"stage": "resource", **exc.facts})
        except Exception:  # noqa: BLE001 a bug must not stop the job
            _log.exception("purge_failed", extra={"stage": "resource"})
