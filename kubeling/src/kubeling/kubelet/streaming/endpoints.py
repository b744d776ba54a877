"""The requests for streams: choose the protocol, upgrade the connection, and run the session."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

from kubeling.asgi import Receive, Scope, Send, WebSocket, header, header_values, offered_upgrade
from kubeling.kubelet.container_run import ContainerRun
from kubeling.kubelet.errors import KubeletError
from kubeling.kubelet.streaming import command_session, port_forward, spdy_client, websocket_client
from kubeling.kubelet.streaming.command_client import (
    CommandClient,
    StreamOptions,
    parse_stream_options,
)
from kubeling.kubelet.streaming.port_forward import Connect
from kubeling.kubelet.streaming.spdy import SpdyConnection, StreamTransport, WebSocketTransport
from kubeling.kubelet.streaming.spdy_client import SpdyClient
from kubeling.kubelet.streaming.websocket_client import WebSocketClient
from kubeling.tasks import cancel_and_wait

# Each session has a connection, and most have processes.
MAX_SESSIONS = 128
_SPDY = "spdy/3.1"
_CLOSE_SECONDS = 30.0

Query = Mapping[str, Sequence[str]]
Call = tuple[Scope, Receive, Send]
"""The arguments of an ASGI application."""


class StreamingEndpoints:
    """Serves exec, attach and port-forward."""

    def __init__(self) -> None:
        self._sessions = 0

    async def execute(self, call: Call, run: ContainerRun, query: Query) -> None:
        """Run a command in a container. Raises KubeletError if the request is refused."""
        options, command = parse_stream_options(query), list(query.get("command", ()))
        if not command or not command[0]:
            raise KubeletError(400, "you must specify at least one command for the container")
        async with self._client(call, options) as client:
            await command_session.execute(client, run, command, options)

    async def attach(self, call: Call, run: ContainerRun, query: Query) -> None:
        """Connect a client with the program of a container. Raises KubeletError if the request is refused."""
        options = parse_stream_options(query)
        async with self._client(call, options) as client:
            await command_session.attach(client, run, options)

    async def forward(self, call: Call, pod: str, connect: Connect, query: Query) -> None:
        """Forward connections to the ports of a pod. Raises KubeletError if the request is refused."""
        scope = call[0]
        if scope["type"] == "http" or port_forward.TUNNEL_PROTOCOL in scope["subprotocols"]:
            async with self._session(), self._spdy(call) as connection:
                await port_forward.SpdyPortForward(connection, pod, connect).run()
            return
        ports = port_forward.parse_ports(query.get("port", ()))
        async with self._session(), _accept(call, port_forward.WEBSOCKET_PROTOCOLS) as socket:
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
    async def _client(self, call: Call, options: StreamOptions) -> AsyncIterator[CommandClient]:
        async with self._session():
            if call[0]["type"] == "websocket":
                async with _accept(call, websocket_client.PROTOCOLS) as socket:
                    client = WebSocketClient(socket, options)
                    await client.open()
                    yield client
                return
            protocol = _choose_protocol(call[0], spdy_client.PROTOCOLS)
            async with _accept_spdy(call[0], protocol) as connection:
                yield await SpdyClient.open(connection, protocol, options)

    @contextlib.asynccontextmanager
    async def _spdy(self, call: Call) -> AsyncIterator[SpdyConnection]:
        """Yield the SPDY connection of a port-forward, in a WebSocket if the client offers that."""
        if call[0]["type"] == "http":
            protocol = _choose_protocol(call[0], (port_forward.SPDY_PROTOCOL,))
            async with _accept_spdy(call[0], protocol) as connection:
                yield connection
            return
        async with (
            _accept(call, (port_forward.TUNNEL_PROTOCOL,)) as socket,
            _running(SpdyConnection(WebSocketTransport(socket))) as connection,
        ):
            yield connection


@contextlib.asynccontextmanager
async def _accept(call: Call, protocols: Sequence[str]) -> AsyncIterator[WebSocket]:
    """Accept a WebSocket with the first offered subprotocol that is supported; close it at the end.

    Raises KubeletError 400.
    """
    socket = WebSocket(*call)
    chosen = next((offer for offer in socket.offers or [""] if offer in protocols), None)
    if chosen is None:
        names = ", ".join(name for name in protocols if name)
        raise KubeletError(400, f"none of the offered subprotocols is supported; use {names}")
    await socket.accept(chosen)
    try:
        yield socket
    finally:
        with contextlib.suppress(OSError):
            await socket.close()


def _choose_protocol(scope: Scope, supported: Sequence[str]) -> str:
    """Return the first protocol of a SPDY client that is supported. Raises KubeletError (400, 403)."""
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
