"""Accept connections from a listening socket that several processes may share.

fairness     one connection per event-loop iteration: a busy process accepts less often than an idle one
early close  a connection filter may close a connection before the TLS handshake
shares       one address gets only its share of the connections
shutdown     other processes continue to accept when one process stops; on a stop, the acceptor also
             accepts the connections in the kernel's queue, because closing the socket would reset them
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

from podpass.http.connection import RESET_ON_CLOSE, Connection
from podpass.http.limits import Limits, SourceConnections
from podpass.http.proxy_headers import Network, is_trusted

_log = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 10.0
# The end of a long response may take any time, so `slow_readers` limits it and not this timeout.
_TLS_SHUTDOWN_SECONDS = 24 * 3600.0
# The kernel's default of several megabytes for each client that does not read would use up a memory limit.
UNSENT_BYTES = 128 * 1024
_PAUSE_SECONDS = 0.1
_LOG_INTERVAL_SECONDS = 10.0
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


Address = tuple[str, int]
# From the addresses of a connection, its peer and this server, to its client; None if that is the peer.
FindClient = Callable[[Address, Address], Address | None]


class ConnectionFilter(Protocol):
    """Decides from which addresses connections are accepted and requests are read.

    `allow_connection` is called for each new connection, before TLS. `allow_request` is called before each
    request of an accepted connection. `on_dropped` is called if a source has too many connections, and
    `on_unused` if a connection ends without a complete request.
    """

    def allow_connection(self, source: str) -> bool: ...
    def allow_request(self, source: str) -> bool: ...
    def on_dropped(self) -> None: ...
    def on_unused(self, source: str) -> None: ...


class Acceptor:
    """Accept connections on one socket, and create a protocol for each.

    `is_full` receives the number of handshakes, and returns whether the connection limit is reached;
    `proxies` are exempt from the limit of one address, because many clients are behind them; `find_client`
    finds the client behind a peer that only relays bytes.
    """

    def __init__(
        self,
        sock: socket.socket,
        new_connection: Callable[[], Connection],
        tls: ssl.SSLContext | None,
        *,
        connection_filter: ConnectionFilter | None,
        is_full: Callable[[int], bool],
        limits: Limits,
        proxies: Sequence[Network],
        find_client: FindClient | None = None,
    ) -> None:
        self._sock = sock
        self._new_connection = new_connection
        self._tls = tls
        self._filter = connection_filter
        self._is_full = is_full
        self._find_client = find_client
        self._sources, self._proxies = SourceConnections(limits.source_connections), proxies
        self._loop = asyncio.get_running_loop()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._log_after: dict[str, float] = {}
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
        client = None
        if self._find_client is not None:
            client = self._find_client(address[:2], accepted.getsockname()[:2])
        source = str(address[0]) if client is None else client[0]
        is_blocked = self._filter is not None and not self._filter.allow_connection(source)
        cause = "" if is_blocked else self._full_cause(source)
        if cause:
            self._log(logging.WARNING, "connection_limit_reached", cause, source=source)
        if is_blocked or cause:
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            accepted.close()
            return True
        task = self._loop.create_task(self._connect(accepted, source, client))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        return True

    def _full_cause(self, source: str) -> str:
        """Return why a connection exceeds a limit; empty if it does not. Report a drop to the filter."""
        if self._is_full(len(self._handshakes)):
            return "too many are open"
        if not self._sources.is_full(source) or is_trusted(source, self._proxies):
            return ""
        if self._filter is not None:
            self._filter.on_dropped()
        return "too many of this address are open"

    def _log(self, level: int, event: str, cause: str, **facts: str) -> None:
        """Log each cause at most once per interval, so that one address cannot hide other causes."""
        now = self._loop.time()
        if now >= self._log_after.get(cause, now):
            self._log_after[cause] = now + _LOG_INTERVAL_SECONDS
            _log.log(level, event, extra={"cause": cause, **facts})

    def _pause_accepting(self, exc: OSError) -> None:
        # The socket stays readable: without a pause, the loop would call accept again immediately.
        if self._pause is None and not self._closed:
            self._log(logging.ERROR, "connection_accept_failed", str(exc.strerror))
            self._loop.remove_reader(self._sock)
            self._pause = self._loop.call_later(_PAUSE_SECONDS, self._resume)

    async def _connect(self, accepted: socket.socket, source: str, client: Address | None) -> None:
        self._sources.on_open(source)
        created: list[Connection] = []

        def create() -> Connection:
            connection = self._new_connection()
            connection.sock, connection.relayed_client = accepted, client
            created.append(connection)
            return connection

        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        try:
            await self._loop.connect_accepted_socket(
                create,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls is not None else None,
                ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS if self._tls is not None else None,
            )
        except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError
            _log.debug("handshake_failed", extra={"source": source, "cause": type(exc).__name__})
        finally:
            self._report_close(created, accepted, source)

    def _report_close(
        self, created: list[Connection], accepted: socket.socket, source: str
    ) -> None:
        """Count the end of the connection when it ends, or now if it has no protocol."""
        if not created:
            accepted.close()
        # Otherwise the transport owns the socket. If it were closed here, the kernel would reuse its file
        # descriptor for the next connection.
        connection = created[0] if created else None

        def on_lost() -> None:
            self._sources.on_close(source)
            if self._filter is not None and (connection is None or not connection.has_request):
                self._filter.on_unused(source)

        transport = connection.transport if connection is not None else None
        if connection is None or transport is None or transport.is_closing():
            on_lost()
        else:
            connection.on_lost = on_lost
