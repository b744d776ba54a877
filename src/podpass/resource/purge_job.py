"""What goes by itself: deleted secrets and vaults whose time is over, secrets of purged vaults."""

import asyncio
import contextlib
import logging
from typing import Self

from podpass.clock import Clock
from podpass.database import DatabaseFailed
from podpass.resource.authorization import Directory
from podpass.resource.store import SecretStore

_log = logging.getLogger(__name__)

EVERY_SECONDS = 600.0


async def sweep(directory: Directory, store: SecretStore, clock: Clock) -> int:
    """Delete for good what no vault holds any more, and count the secrets."""
    await directory.vaults.sweep()
    gone = await store.expire(clock())
    # Before the vaults are read: one that is made meanwhile is not among those looked at.
    kept = await store.vaults()
    orphans = kept - await directory.vaults.uids()
    if orphans:
        gone += await store.clear(orphans)
    if gone:
        _log.info("secrets_swept", extra={"secrets": gone, "vaults": sorted(orphans)})
    return gone


class Housekeeping:
    """Sweep at the start, and from time to time until the end."""

    def __init__(
        self,
        directory: Directory,
        store: SecretStore,
        clock: Clock,
        *,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._directory = directory
        self._store = store
        self._clock = clock
        self._every = every_seconds
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._sweep()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None, "it is entered before it is left"
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            await self._sweep()

    async def _sweep(self) -> None:
        # Neither the start nor what else runs depends on it; the next round may go better.
        try:
            await sweep(self._directory, self._store, self._clock)
        except DatabaseFailed as exc:
            _log.error("sweep_failed", extra={"stage": "resource", **exc.facts})
        except Exception:  # noqa: BLE001 a bug must not stop it either
            _log.exception("sweep_failed", extra={"stage": "resource"})
