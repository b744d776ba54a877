"""The requests for streams: choose the protocol, upgrade the connection, and run the session."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from podpass.http import websocket
from podpass.http.server import Scope, header, header_values
from podpass.http.upgrade import offered_upgrade
from podpass.http.websocket import HandshakeError, WebSocket
from podpass.kubernetes.kubelet.container_run import ContainerRun
from podpass.kubernetes.kubelet.errors import KubeletError
from podpass.kubernetes.kubelet.streaming import (
    command_session,
    port_forward,
    spdy_client,
    websocket_client,
)
from podpass.kubernetes.kubelet.streaming.command_client import (
    CommandClient,
    StreamOptions,
    parse_stream_options,
)
from podpass.kubernetes.kubelet.streaming.port_forward import Connect
from podpass.kubernetes.kubelet.streaming.spdy import SpdyConnection
from podpass.kubernetes.kubelet.streaming.spdy_client import SpdyClient
from podpass.kubernetes.kubelet.streaming.transports import StreamTransport, WebSocketTransport
from podpass.kubernetes.kubelet.streaming.websocket_client import WebSocketClient
from podpass.tasks import cancel_and_wait

# Each session has a connection, and most have processes.
MAX_SESSIONS = 128
_SPDY = "spdy/3.1"
_CLOSE_SECONDS = 30.0

Query = Mapping[str, Sequence[str]]


class StreamingEndpoints:
    """Serves exec, attach and port-forward."""

    def __init__(self) -> None:
        self._sessions = 0

    async def execute(self, scope: Scope, run: ContainerRun, query: Query) -> None:
        """Run a command in a container.

        Errors:  KubeletError if the request is refused.
        """
        options, command = parse_stream_options(query), list(query.get("command", ()))
        if not command or not command[0]:
            raise KubeletError(400, "you must specify at least one command for the container")
        async with self._client(scope, options) as client:
            await command_session.execute(client, run, command, options)

    async def attach(self, scope: Scope, run: ContainerRun, query: Query) -> None:
        """Connect a client with the program of a container.

        Errors:  KubeletError if the request is refused.
        """
        options = parse_stream_options(query)
        async with self._client(scope, options) as client:
            await command_session.attach(client, run, options)

    async def forward(self, scope: Scope, pod: str, connect: Connect, query: Query) -> None:
        """Forward connections to the ports of a pod.

        Errors:  KubeletError if the request is refused.
        """
        offers = websocket.offered_protocols(scope)
        if offers is None or port_forward.TUNNEL_PROTOCOL in offers:
            async with self._session(), self._spdy(scope, offers) as connection:
                await port_forward.SpdyPortForward(connection, pod, connect).run()
            return
        ports = port_forward.parse_ports(query.get("port", ()))
        async with self._session(), _accept(scope, port_forward.WEBSOCKET_PROTOCOLS) as socket:
            await port_forward.WebSocketPortForward(socket, ports, pod, connect).run()

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[None]:
        """Count a session; errors of its connection end it without a message."""
        if self._sessions >= MAX_SESSIONS:
            raise KubeletError(429, f"there are already {MAX_SESSIONS} streaming connections")
        self._sessions += 1
        try:
            with contextlib.suppress(OSError):
                yield
        finally:
            self._sessions -= 1

    @contextlib.asynccontextmanager
    async def _client(self, scope: Scope, options: StreamOptions) -> AsyncIterator[CommandClient]:
        async with self._session():
            if websocket.offered_protocols(scope) is not None:
                async with _accept(scope, websocket_client.PROTOCOLS) as socket:
                    client = WebSocketClient(socket, options)
                    await client.open()
                    yield client
                return
            protocol = _choose_protocol(scope, spdy_client.PROTOCOLS)
            async with _accept_spdy(scope, protocol) as connection:
                yield await SpdyClient.open(connection, protocol, options)

    @contextlib.asynccontextmanager
    async def _spdy(
        self, scope: Scope, offers: Sequence[str] | None
    ) -> AsyncIterator[SpdyConnection]:
        """Yield the SPDY connection of a port-forward, in a WebSocket if the client offers that."""
        if offers is None:
            protocol = _choose_protocol(scope, (port_forward.SPDY_PROTOCOL,))
            async with _accept_spdy(scope, protocol) as connection:
                yield connection
            return
        async with (
            _accept(scope, (port_forward.TUNNEL_PROTOCOL,)) as socket,
            _running(SpdyConnection(WebSocketTransport(socket))) as connection,
        ):
            yield connection


def _accept(scope: Scope, protocols: Sequence[str]) -> WebSocket:
    try:
        return websocket.accept(scope, protocols)
    except HandshakeError as exc:
        raise KubeletError(exc.status, exc.message) from exc


def _choose_protocol(scope: Scope, supported: Sequence[str]) -> str:
    """Return the first protocol of a SPDY client that is supported.

    Errors:  KubeletError (400, 403).
    """
    if offered_upgrade(scope) is None or (header(scope, b"upgrade") or "").lower() != _SPDY:
        raise KubeletError(400, "Upgrade request required")
    values = ",".join(header_values(scope, b"x-stream-protocol-version"))
    offers = [value.strip() for value in values.split(",") if value.strip()]
    chosen = next((offer for offer in offers or [""] if offer in supported), None)
    if chosen is None:
        raise KubeletError(403, f"none of the stream protocols is supported; use {supported[0]}")
    return chosen


@contextlib.asynccontextmanager
async def _accept_spdy(scope: Scope, protocol: str) -> AsyncIterator[SpdyConnection]:
    upgrade = offered_upgrade(scope)
    assert upgrade is not None
    headers = [(b"connection", b"Upgrade"), (b"upgrade", b"SPDY/3.1")]
    if protocol:
        headers.append((b"x-stream-protocol-version", protocol.encode()))
    async with (
        upgrade.accept(headers) as stream,
        _running(SpdyConnection(StreamTransport(stream))) as connection,
    ):
        yield connection


@contextlib.asynccontextmanager
async def _running(connection: SpdyConnection) -> AsyncIterator[SpdyConnection]:
    """Run a connection; at the end, wait until the client has read everything and closed it."""
    task = asyncio.create_task(connection.run(), name="spdy")
    try:
        yield connection
        await asyncio.wait({task}, timeout=_CLOSE_SECONDS)
    finally:
        await cancel_and_wait(task)
