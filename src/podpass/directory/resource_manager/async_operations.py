"""IDs of asynchronous operations, and locks on the resources that are being written.

Each operation is complete when its request is answered. Its ID contains the time of completion and a
checksum, so a client can poll it, also after a restart of the instance.
"""

import hashlib
import os
import uuid

_TIME_BYTES, _RANDOM_BYTES, _CHECKSUM_BYTES = 6, 2, 8


class AsyncOperations:
    """The completed operations of a subscription by ID, and the locks of resources."""

    def __init__(self, subscription_id: str) -> None:
        self._locked: set[str] = set()
        self._subscription_id = subscription_id.encode()

    def complete(self, now: float) -> str:
        """Return the ID of an operation that succeeded now."""
        head = int(now * 1000).to_bytes(_TIME_BYTES) + os.urandom(_RANDOM_BYTES)
        return str(uuid.UUID(bytes=head + self._checksum(head)))

    def try_lock(self, key: str) -> bool:
        """Lock a resource for a write; return False if another write holds the lock."""
        if key in self._locked:
            return False
        self._locked.add(key)
        return True

    def unlock(self, key: str) -> None:
        """Release the lock of a resource."""
        self._locked.discard(key)

    def completed_at(self, name: str) -> float | None:
        """Return the time at which an operation completed; None for an ID that was never issued."""
        try:
            given = uuid.UUID(name).bytes
        except ValueError:
            return None
        # The checksum is not a secret: a forged ID only shows a success of no operation.
        if self._checksum(given[:-_CHECKSUM_BYTES]) != given[-_CHECKSUM_BYTES:]:
            return None
        return int.from_bytes(given[:_TIME_BYTES]) / 1000

    def _checksum(self, head: bytes) -> bytes:
        return hashlib.sha256(self._subscription_id + head).digest()[:_CHECKSUM_BYTES]
