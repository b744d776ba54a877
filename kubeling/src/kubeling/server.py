"""Serve an ASGI application over TLS with uvicorn, in an event loop that already runs."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn

from kubeling.asgi import App

# Clients send a file of `kubectl cp` as one message; Go's API server accepts 32 MiB.
_MAX_MESSAGE_BYTES = 32 * 1024 * 1024
_GRACE_SECONDS = 1
# Messages of uvicorn about normal events: kubectl tries SPDY after each refused WebSocket, a refused
# handshake has a complete response, and clients keep idle connections.
_NOISE = (
    "Unsupported upgrade request.",
    "ASGI callable returned without completing handshake.",
    "Cancel %s running task(s), timeout graceful shutdown exceeded",
)


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process that owns the event loop, and stops without a delay."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Wait for the stop; uvicorn's own loop wakes ten times a second to look for it."""
        await self.on_tick(0)
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; uvicorn waits 0.1 s for its connections, also if it has none."""
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        else:
            for server in self.servers:
                server.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handler."""
        yield


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """Open a listening socket; port 0 selects a free port.

    Raises:
        OSError: another program listens on the port.
    """
    sock = socket.create_server((host, port), backlog=1024)
    # The accepted connections inherit it: the second of two watch events is not delayed by 40 ms.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


@contextlib.asynccontextmanager
async def serving(
    app: App, sock: socket.socket, certificate: Path | None = None, key: Path | None = None
) -> AsyncIterator[str]:
    """Serve until the context ends, with TLS if there is a certificate; yield the URL."""
    config = uvicorn.Config(
        app,
        interface="asgi3",
        ssl_certfile=certificate,
        ssl_keyfile=None if key is None else str(key),
        # Not `websockets`: it refuses the subprotocol of `kubectl port-forward`, which contains a slash.
        ws="wsproto",
        ws_per_message_deflate=False,
        ws_ping_interval=None,  # a client that does not read, such as one in a pager, keeps its connection
        ws_max_size=_MAX_MESSAGE_BYTES,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    log = logging.getLogger("uvicorn.error")
    log.setLevel(logging.WARNING)
    log.addFilter(lambda record: record.msg not in _NOISE)
    # In a thread, because it imports the modules of the protocols; other tasks continue.
    await asyncio.to_thread(config.load)
    server = _Server(config)
    # Clients can already connect, because the socket listens.
    task = asyncio.create_task(server.serve([sock]), name="server")
    try:
        host, port = sock.getsockname()[:2]
        yield f"{'http' if certificate is None else 'https'}://{host}:{port}"
    finally:
        server.stop()
        await asyncio.wait({task})
        sock.close()
        task.result()
