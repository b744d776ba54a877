"""How much slow work the vaults do at the same time, and how callers share it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from weakref import WeakValueDictionary

from podpass.http.shares import Shares

# The number of requests of a principal that run or wait.
_WAITING = 64


class FairSlots:
    """Limits slow work: at most `slots` pieces run at the same time, and at most one of each principal.

    The other pieces of a principal wait for its first one. So a principal with many requests delays each
    other principal by one piece only.
    """

    def __init__(self, what: str, slots: int, waiting: int = _WAITING) -> None:
        self._shares = Shares(what, waiting)
        self._slots = asyncio.Semaphore(slots)
        # A lock is deleted with the last request that waits for it.
        self._own: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def take(self, principal: str) -> AsyncIterator[None]:
        """Wait for a slot of a principal, and hold it until the context ends. Raises ShareExceeded."""
        with self._shares.hold(principal):
            own = self._own.setdefault(principal, asyncio.Lock())
            async with own, self._slots:
                yield


class WorkLimits:
    """The limits of the vaults of an instance, each with its own capacity.

    `computing` is for work of milliseconds in threads; `generation` for RSA keys, which take seconds;
    `imports` for the processes that decode certificates; `backups` for the megabytes of a backup.
    """

    def __init__(self) -> None:
        self.computing = Shares("computing time of the vault", _WAITING)
        # One core stays free for requests.
        self.generation = FairSlots(
            "key generation of the vault", max(1, (os.cpu_count() or 1) - 1)
        )
        self.imports = FairSlots("certificate imports of the vault", 2)
        self.backups = FairSlots("backups of the vault", 1)
