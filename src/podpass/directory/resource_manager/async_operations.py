"""IDs and states of asynchronous operations, and locks on the resources that are being written.

An ID contains the time at which its operation is complete and a checksum, so a client can poll it, also after
a restart of the instance. An operation that runs in the background is complete when its task ends; one that a
restart interrupts is resumed before the API is served again.
"""

import asyncio
import hashlib
import logging
import os
import uuid
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from podpass.errors import Error

_log = logging.getLogger(__name__)

_TIME_BYTES, _RANDOM_BYTES, _CHECKSUM_BYTES = 6, 2, 8
_MAX_FAILED = 100
# The start time of an ID further ahead than this was written before the clock was set back.
_MAX_SECONDS = 600


class OperationStatus(StrEnum):
    """The status of an operation, as Resource Manager writes it."""

    IN_PROGRESS = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationState:
    """The state of an operation; `message` is the reason of a failure."""

    status: OperationStatus
    time: float
    message: str = ""


class AsyncOperations:
    """The operations of a subscription by ID, and the locks of resources."""

    def __init__(self, subscription_id: str) -> None:
        self._locked: set[str] = set()
        self._subscription_id = subscription_id.encode()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failed: OrderedDict[str, str] = OrderedDict()

    def complete(self, at: float) -> str:
        """Return the ID of an operation that is complete from a given time on."""
        head = int(at * 1000).to_bytes(_TIME_BYTES) + os.urandom(_RANDOM_BYTES)
        return str(uuid.UUID(bytes=head + self._checksum(head)))

    def start(self, work: Coroutine[Any, Any, None], key: str, now: float) -> str:
        """Run an operation in the background and return its ID; release the lock `key` when it ends."""
        name = self.complete(now)
        task = asyncio.create_task(work, name=f"operation {name}")
        self._running[name] = task
        task.add_done_callback(lambda done: self._finish(name, key, done))
        return name

    def _finish(self, name: str, key: str, task: "asyncio.Task[None]") -> None:
        del self._running[name]
        self.unlock(key)
        if task.cancelled() or (failure := task.exception()) is None:
            return
        message = failure.message if isinstance(failure, Error) else "an unexpected error"
        self._failed[name] = message
        if len(self._failed) > _MAX_FAILED:
            self._failed.popitem(last=False)
        _log.error("operation_failed", extra={"operation": name}, exc_info=failure)

    def try_lock(self, key: str) -> bool:
        """Lock a resource for a write; return False if another write holds the lock."""
        if key in self._locked:
            return False
        self._locked.add(key)
        return True

    def unlock(self, key: str) -> None:
        """Release the lock of a resource."""
        self._locked.discard(key)

    def find(self, name: str, now: float) -> OperationState | None:
        """Return the state of an operation; None for an ID that was never issued."""
        try:
            given = uuid.UUID(name)
        except ValueError:
            return None
        # The checksum is not a secret: a forged ID only shows a success of no operation.
        if self._checksum(given.bytes[:-_CHECKSUM_BYTES]) != given.bytes[-_CHECKSUM_BYTES:]:
            return None
        time, known = int.from_bytes(given.bytes[:_TIME_BYTES]) / 1000, str(given)
        if known in self._failed:
            message = self._failed[known]
            return OperationState(status=OperationStatus.FAILED, time=time, message=message)
        if known in self._running or now < time <= now + _MAX_SECONDS:
            return OperationState(status=OperationStatus.IN_PROGRESS, time=time)
        return OperationState(status=OperationStatus.SUCCEEDED, time=time)

    def _checksum(self, head: bytes) -> bytes:
        return hashlib.sha256(self._subscription_id + head).digest()[:_CHECKSUM_BYTES]
