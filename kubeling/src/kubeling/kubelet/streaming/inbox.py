"""A bounded buffer between a connection that carries several streams and the reader of one of them."""

import asyncio

_LIMIT = 256 * 1024


class Inbox:
    """Bytes that a client has sent and that were not read yet.

    While an inbox is full, its connection reads nothing, so the client waits.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._data = bytearray()
        self._ended = self._discarded = False
        self._changed = asyncio.Condition()

    async def feed(self, data: bytes) -> None:
        """Add data, and wait while the inbox is full."""
        async with self._changed:
            if self._ended or self._discarded:
                return
            self._data += data
            self._changed.notify_all()
            await self._changed.wait_for(lambda: len(self._data) < self._limit or self._discarded)

    async def end(self) -> None:
        """Mark the end of the data."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    async def discard(self) -> None:
        """Discard all data, including later data, because nothing reads the inbox any more."""
        async with self._changed:
            self._discarded = True
            self._data.clear()
            self._changed.notify_all()

    async def read(self) -> bytes:
        """Return the data so far, and wait for some; empty at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._data or self._ended or self._discarded)
            data = bytes(self._data)
            self._data.clear()
            self._changed.notify_all()
            return data
