"""Connections taken from a listening socket that several processes may share, one at a time.

fair         one connection a turn of the loop: a busy process comes round less often than an idle one
early        a door may refuse an address before a byte of TLS was spent on it
nothing lost whoever shares the socket goes on when one process ends; on a stop, connections that wait
             in the kernel are served too, since closing the socket would reset them
"""

import asyncio
import errno
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Protocol

from podpass.http.connection import Connection

_log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
# A client that keeps a connection without reading it never says goodbye: the default is half a minute.
GOODBYE_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
_QUIET_SECONDS = 10.0
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Reset instead of a goodbye: nothing of the connection is kept, not even for the kernel's minute.
_AT_ONCE = struct.pack("ii", 1, 0)


class Door(Protocol):
    """Whoever decides which addresses are listened to.

    `hears` is asked before each request of a connection that was accepted; `opened` and `closed` are told
    of the connection, and `wasted` besides of one that ends without a whole request.
    """

    def accepts(self, source: str) -> bool: ...
    def hears(self, source: str) -> bool: ...
    def opened(self, source: str) -> None: ...
    def closed(self, source: str) -> None: ...
    def wasted(self, source: str) -> None: ...


class Acceptor:
    """Accept on one socket, and hand each connection to a protocol of its own.

    Shapes:  `full` is told how many are in a handshake, and says whether one more is too many.
    """

    def __init__(
        self,
        sock: socket.socket,
        make: Callable[[], Connection],
        tls: ssl.SSLContext | None,
        *,
        door: Door | None,
        full: Callable[[int], bool],
    ) -> None:
        self._sock = sock
        self._make = make
        self._tls = tls
        self._door = door
        self._full = full
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0
        self._closed = False
        sock.setblocking(False)
        self._resume()

    @property
    def handshakes(self) -> int:
        """How many connections are not yet their protocol's."""
        return len(self._handshakes)

    def close(self) -> None:
        """Accept what waits in the kernel, and nothing after it; the same again does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        while self._accept():
            pass
        self._sock.close()

    async def wait_closed(self) -> None:
        """Wait for those in a handshake: each ends, by success or by its time."""
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def abort(self) -> None:
        """Give up those in a handshake."""
        for task in self._handshakes:
            task.cancel()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> bool:
        try:
            taken, address = self._sock.accept()
        except OSError as exc:
            # Else another process was quicker, or the client has gone.
            if exc.errno in _NO_ROOM:
                self._wait_for_room(exc)
            return False
        source = str(address[0])
        refused = self._door is not None and not self._door.accepts(source)
        is_full = not refused and self._full(len(self._handshakes))
        if is_full:
            self._tell_full(source)
        if refused or is_full:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            taken.close()
            return True
        task = self._loop.create_task(self._connect(taken, source))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        return True

    def _tell_full(self, source: str) -> None:
        """Say that there are as many connections as may be, once in a while."""
        now = self._loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_SECONDS
            _log.warning(
                "connections_refused", extra={"cause": "too many are open", "source": source}
            )

    def _wait_for_room(self, exc: OSError) -> None:
        # The socket stays readable, so the loop would do nothing but fail.
        if self._pause is None and not self._closed:
            if self._loop.time() >= self._quiet_until:
                self._quiet_until = self._loop.time() + _QUIET_SECONDS
                _log.error("connections_not_accepted", extra={"cause": exc.strerror})
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)

    async def _connect(self, taken: socket.socket, source: str) -> None:
        if self._door is not None:
            self._door.opened(source)
        made: list[Connection] = []

        def make() -> Connection:
            made.append(self._make())
            return made[0]

        taken.setblocking(False)
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.connect_accepted_socket(
                make,
                taken,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls is not None else None,
                ssl_shutdown_timeout=GOODBYE_SECONDS if self._tls is not None else None,
            )
        except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError
            _log.debug("handshake_failed", extra={"source": source, "cause": type(exc).__name__})
        finally:
            self._see_off(made, taken, source)

    def _see_off(self, made: list[Connection], taken: socket.socket, source: str) -> None:
        """Tell the door when the connection ends, or now if it never began."""
        if not made:
            taken.close()
        # Else the socket is its transport's: closed under it, its number would be the next connection's.
        if (door := self._door) is None:
            return
        connection = made[0] if made else None

        def ended() -> None:
            door.closed(source)
            if connection is None or not connection.asked:
                door.wasted(source)

        transport = connection.transport if connection is not None else None
        if connection is None or transport is None or transport.is_closing():
            ended()
        else:
            connection.on_lost = ended
