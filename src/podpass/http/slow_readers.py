"""Disconnect clients that do not read: data is pending, and the client acknowledges none of it.

A response that is not complete does not show who causes the delay. The number of bytes that the client's
kernel has acknowledged does. It covers every connection in the same way: below TLS, after a response, after
an upgrade, and while a connection closes. A client that reads slowly is not disconnected.

A kernel whose receive buffer is full acknowledges nothing until its program has read a part of the buffer. So
a client that received much and then reads slowly gets more time. Its buffer holds at most what has arrived.
"""

import asyncio
import logging
import socket
import sys
from collections.abc import Callable, Collection
from weakref import WeakKeyDictionary

from podpass.http.connection import Connection

_log = logging.getLogger(__name__)

_CHECKS = 6  # of all connections, in the time after which a client is disconnected
# A client that keeps a connection without reading it never sends close_notify.
_TLS_SHUTDOWN_SECONDS = 1.0
# Linux sends a window update when a 16th of the receive buffer is free. Most are smaller than the maximum.
_WINDOW_PART, _MAX_BUFFER_BYTES = 16, 32 * 1024 * 1024
_SLOWEST = 8 * 1024  # bytes a second that a client reads while its buffer is full
# Offsets in `struct tcp_info` of Linux: packets in flight, bytes acknowledged, bytes not sent.
_UNACKED, _ACKED, _NOT_SENT, _SIZE = slice(24, 28), slice(120, 128), slice(144, 148), 148

# The bytes that have arrived, whether more wait, and whether the connection closes.
_State = tuple[int, bool, bool]


class SlowReaderCheck:
    """Check all connections of a server periodically, as long as there are any, or handshakes."""

    def __init__(
        self,
        connections: Collection[Connection],
        handshakes: Callable[[], Collection[object]],
        seconds: float,
    ) -> None:
        self._connections, self._handshakes = connections, handshakes
        self._seconds, self._next_full = seconds, 0.0
        self._period = min(seconds / _CHECKS, _TLS_SHUTDOWN_SECONDS)
        # Weak references: the buffers of a lost connection may be large.
        self._seen = WeakKeyDictionary[Connection, tuple[_State, float]]()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the checks, if they do not run."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._period, self._check_all)

    def stop(self) -> None:
        """Stop the checks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_all(self) -> None:
        self._timer = None
        now = self._loop.time()
        # Each check needs a system call, so open connections are checked less often than closing ones.
        if is_full := now >= self._next_full:
            self._next_full = now + self._seconds / _CHECKS
        slow = [
            connection.peer
            for connection in tuple(self._connections)
            if (is_full or connection.transport.is_closing()) and self._disconnect(connection, now)
        ]
        if slow:
            _log.info(
                "slow_readers_disconnected", extra={"connections": len(slow), "source": slow[-1]}
            )
        if self._connections or self._handshakes():
            self.start()

    def _disconnect(self, connection: Connection, now: float) -> bool:
        """Disconnect a client that does not read, and return True; end a connection that is closed."""
        state = _read_state(connection)
        last, since = self._seen.get(connection, (None, now))
        since = since if state == last else now
        self._seen[connection] = (state, since)
        arrived, waits, closes = state
        window = min(arrived, _MAX_BUFFER_BYTES) / _WINDOW_PART
        if waits and now - since >= self._seconds + window / _SLOWEST:
            connection.reset()
            return True
        if closes and not waits and now - since >= _TLS_SHUTDOWN_SECONDS:
            connection.transport.abort()
        return False


def _read_state(connection: Connection) -> _State:
    """Return the state of the data that was written to a connection."""
    transport = connection.transport
    closes = transport.is_closing()
    if sys.platform == "linux" and connection.sock is not None:
        try:
            info = connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
        except OSError:  # it is closed already
            return 0, False, closes
        acked, waiting = info[_ACKED], any(info[_UNACKED]) or any(info[_NOT_SENT])
        return int.from_bytes(acked, sys.byteorder), waiting, closes
    # Without `tcp_info`, only the data that was not yet written to the socket is visible.
    size = transport.get_write_buffer_size()
    return size, size > 0, closes
