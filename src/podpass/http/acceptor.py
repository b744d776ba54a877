"""Accept connections from a listening socket that several processes may share.

fairness     one connection per event-loop iteration: a busy process accepts less often than an idle one
early close  a connection filter may close a connection before the TLS handshake
shutdown     other processes continue to accept when one process stops; on a stop, the acceptor also
             accepts the connections in the kernel's queue, because closing the socket would reset them
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
# A client that keeps a connection without reading it never sends close_notify. asyncio's default is 30 s.
TLS_SHUTDOWN_SECONDS = 1.0
_PAUSE_SECONDS = 0.1
_LOG_INTERVAL_SECONDS = 10.0
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Close with a reset: the kernel then keeps no state of the connection, not even for TIME_WAIT.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ConnectionFilter(Protocol):
    """Decides from which addresses connections are accepted and requests are read.

    `allow_connection` is called for each new connection, before TLS. `allow_request` is called before each
    request of an accepted connection. `on_open` and `on_close` are called once for each connection;
    `on_unused` is also called if a connection ends without a complete request.
    """

    def allow_connection(self, source: str) -> bool: ...
    def allow_request(self, source: str) -> bool: ...
    def on_open(self, source: str) -> None: ...
    def on_close(self, source: str) -> None: ...
    def on_unused(self, source: str) -> None: ...


class Acceptor:
    """Accept connections on one socket, and create a protocol for each.

    Shapes:  `is_full` receives the number of handshakes, and returns whether the connection limit is reached.
    """

    def __init__(
        self,
        sock: socket.socket,
        new_connection: Callable[[], Connection],
        tls: ssl.SSLContext | None,
        *,
        connection_filter: ConnectionFilter | None,
        is_full: Callable[[int], bool],
    ) -> None:
        self._sock = sock
        self._new_connection = new_connection
        self._tls = tls
        self._filter = connection_filter
        self._is_full = is_full
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._log_after = 0.0
        self._closed = False
        sock.setblocking(False)
        self._resume()

    def use_tls(self, tls: ssl.SSLContext) -> None:
        """Use another TLS configuration for new connections."""
        self._tls = tls

    @property
    def handshakes(self) -> set[asyncio.Future[None]]:
        """Return a future for each connection that has no protocol yet."""
        return set(self._handshakes)

    def close(self) -> None:
        """Accept the connections in the kernel's queue, then close the socket; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        while self._accept():
            pass
        self._sock.close()

    def abort(self) -> None:
        """Cancel the handshakes."""
        for task in self._handshakes:
            task.cancel()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def _accept(self) -> bool:
        try:
            accepted, address = self._sock.accept()
        except OSError as exc:
            # Any other error: another process accepted the connection first, or the client closed it.
            if exc.errno in _OUT_OF_RESOURCES:
                self._pause_accepting(exc)
            return False
        source = str(address[0])
        is_blocked = self._filter is not None and not self._filter.allow_connection(source)
        is_full = not is_blocked and self._is_full(len(self._handshakes))
        if is_full:
            self._log_full(source)
        if is_blocked or is_full:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            accepted.close()
            return True
        task = self._loop.create_task(self._connect(accepted, source))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        return True

    def _log_full(self, source: str) -> None:
        """Log at most once per interval that the connection limit is reached."""
        now = self._loop.time()
        if now >= self._log_after:
            self._log_after = now + _LOG_INTERVAL_SECONDS
            _log.warning(
                "connection_limit_reached", extra={"cause": "too many are open", "source": source}
            )

    def _pause_accepting(self, exc: OSError) -> None:
        # The socket stays readable: without a pause, the loop would call accept again immediately.
        if self._pause is None and not self._closed:
            if self._loop.time() >= self._log_after:
                self._log_after = self._loop.time() + _LOG_INTERVAL_SECONDS
                _log.error("connection_accept_failed", extra={"cause": exc.strerror})
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)

    async def _connect(self, accepted: socket.socket, source: str) -> None:
        if self._filter is not None:
            self._filter.on_open(source)
        created: list[Connection] = []

        def create() -> Connection:
            created.append(self._new_connection())
            return created[0]

        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.connect_accepted_socket(
                create,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls is not None else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if self._tls is not None else None,
            )
        except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError
            _log.debug("handshake_failed", extra={"source": source, "cause": type(exc).__name__})
        finally:
            self._report_close(created, accepted, source)

    def _report_close(
        self, created: list[Connection], accepted: socket.socket, source: str
    ) -> None:
        """Call the filter when the connection ends, or now if it has no protocol."""
        if not created:
            accepted.close()
        # Otherwise the transport owns the socket. If it were closed here, the kernel would reuse its file
        # descriptor for the next connection.
        if (connection_filter := self._filter) is None:
            return
        connection = created[0] if created else None

        def on_lost() -> None:
            connection_filter.on_close(source)
            if connection is None or not connection.has_request:
                connection_filter.on_unused(source)

        transport = connection.transport if connection is not None else None
        if connection is None or transport is None or transport.is_closing():
            on_lost()
        else:
            connection.on_lost = on_lost
