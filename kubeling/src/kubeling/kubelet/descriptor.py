"""Read and write pipes and pseudo-terminals without blocking the event loop.

Not the transports of asyncio: they treat the end of a terminal as an error.
"""

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Callable

_CHUNK = 64 * 1024


class Descriptor:
    """An open file descriptor of this process; one task may read it and one may write it."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._waiters: set[asyncio.Future[None]] = set()
        os.set_blocking(number, False)

    @property
    def is_closed(self) -> bool:
        return self._number < 0

    async def read(self) -> bytes:
        """Return the next data; empty at the end, or after the descriptor was closed."""
        while not self.is_closed:
            try:
                return os.read(self._number, _CHUNK)
            except BlockingIOError:
                await self._wait(self._loop.add_reader, self._loop.remove_reader)
            except OSError:
                # A terminal that no process has open any more reports an error at its end.
                return b""
        return b""

    async def write(self, data: bytes) -> None:
        """Write all data, and wait while the reader does not read.

        Raises OSError if the reader has closed its end.
        """
        left = memoryview(data)
        while left:
            if self.is_closed:
                raise BrokenPipeError("the descriptor is closed")
            try:
                left = left[os.write(self._number, left) :]
            except BlockingIOError:
                await self._wait(self._loop.add_writer, self._loop.remove_writer)

    def set_size(self, width: int, height: int) -> None:
        """Set the size of a terminal; its foreground processes receive SIGWINCH."""
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._number, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        if not self.is_closed:
            self._loop.remove_reader(self._number)
            self._loop.remove_writer(self._number)
            os.close(self._number)
            self._number = -1
            for waiter in self._waiters:
                _wake(waiter)

    async def _wait(self, add: Callable[..., object], remove: Callable[[int], object]) -> None:
        number, ready = self._number, self._loop.create_future()
        self._waiters.add(ready)
        add(number, _wake, ready)
        try:
            await ready
        finally:
            self._waiters.discard(ready)
            # After a close, the number may belong to another file.
            if not self.is_closed:
                remove(number)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
