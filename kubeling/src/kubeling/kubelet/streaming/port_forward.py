"""Forward connections of a client to a port of a pod.

By SPDY, each connection is a pair of streams, `data` and `error`, with the same request id. By the channels
of a WebSocket, there is one connection per port in the request, with two channels each.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from kubeling.asgi import WebSocket
from kubeling.kubelet.errors import KubeletError
from kubeling.kubelet.streaming.inbox import Inbox
from kubeling.kubelet.streaming.spdy import SpdyConnection, SpdyStream
from kubeling.kubelet.streaming.websocket_client import ChannelCodec
from kubeling.tasks import cancel_all, run_until_first

SPDY_PROTOCOL = "portforward.k8s.io"
TUNNEL_PROTOCOL = "SPDY/3.1+portforward.k8s.io"
WEBSOCKET_PROTOCOLS = ("v4.channel.k8s.io", "v4.base64.channel.k8s.io", "")
PAIR_SECONDS = 30.0
_CHUNK = 64 * 1024

Connect = Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Connects to a port of the pod. Raises OSError."""


class Channel(Protocol):
    """One forwarded connection, on the client's side."""

    inbox: Inbox

    async def write(self, data: bytes) -> None:
        """Send data to the client. Raises OSError."""


def parse_ports(values: Sequence[str]) -> list[int]:
    """Parse the ports of a request by WebSocket. Raises KubeletError (400)."""
    words = [word for value in values for word in value.split(",")]
    if not words:
        raise KubeletError(400, 'query parameter "port" is required')
    return [parse_port(word) for word in words]


def parse_port(text: str) -> int:
    """Parse one port. Raises KubeletError (400)."""
    if text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536:
        return int(text)
    raise KubeletError(400, f'unable to parse "{text}" as a port')


async def forward(channel: Channel, port: int, connect: Connect) -> None:
    """Forward one connection until the pod closes it or the client disconnects. Raises OSError."""
    reader, writer = await connect(port)
    sending = asyncio.create_task(_send(channel, writer))
    try:
        while data := await reader.read(_CHUNK):
            await channel.write(data)
    finally:
        await cancel_all([sending])
        writer.close()


async def _send(channel: Channel, writer: asyncio.StreamWriter) -> None:
    """Pass on the client's data, and then its end: a client may still read the response."""
    try:
        while data := await channel.inbox.read():
            writer.write(data)
            await writer.drain()
        if isinstance(channel, SpdyStream) and channel.is_reset:
            writer.transport.abort()
        elif writer.can_write_eof():
            writer.write_eof()
    except OSError:
        await channel.inbox.discard()


def error_text(port: int, pod: str, error: OSError) -> str:
    """Return the message about a connection that failed."""
    # The event loop writes the address instead of the reason.
    reason = os.strerror(error.errno) if error.errno else str(error)
    why = reason or type(error).__name__
    return f"error forwarding port {port} to pod {pod}: {why}"


class SpdyPortForward:
    """All connections that a client forwards by one SPDY connection."""

    def __init__(self, connection: SpdyConnection, pod: str, connect: Connect) -> None:
        self._connection, self._pod, self._connect = connection, pod, connect
        self._waiting: dict[str, tuple[SpdyStream, asyncio.TimerHandle]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Forward connections until the client closes the SPDY connection."""
        try:
            while (stream := await self._connection.incoming.get()) is not None:
                await self._add(stream)
        finally:
            for _, timer in self._waiting.values():
                timer.cancel()
            await cancel_all(self._tasks)

    async def _add(self, stream: SpdyStream) -> None:
        """Start to forward when both streams of a pair have been opened."""
        key = stream.headers.get("requestid", "")
        kind = stream.headers.get("streamtype", "")
        waiting = self._waiting.get(key)
        is_pair = waiting is not None and waiting[0].headers["streamtype"] != kind
        if kind not in ("data", "error") or (waiting and not is_pair):
            await stream.reset()
        elif waiting is None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(PAIR_SECONDS, self._expire, key)
            self._waiting[key] = (stream, timer)
        else:
            first, timer = self._waiting.pop(key)
            timer.cancel()
            data, error = (stream, first) if kind == "data" else (first, stream)
            self._start(self._forward(data, error))

    def _expire(self, key: str) -> None:
        stream, _ = self._waiting.pop(key)
        self._start(stream.reset())

    def _start(self, work: "asyncio.Future[None] | Awaitable[None]") -> None:
        task = asyncio.ensure_future(_ignore_lost(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, data: SpdyStream, error: SpdyStream) -> None:
        try:
            port = parse_port(data.headers.get("port", ""))
            try:
                await forward(data, port, self._connect)
                await data.end()
            except OSError as exc:
                if not data.is_reset:
                    await error.write(error_text(port, self._pod, exc).encode())
                    await data.reset()
            await error.end()
        except KubeletError as exc:
            await error.write(exc.message.encode())
            await error.end()
            await data.reset()
        finally:
            for stream in (data, error):
                self._connection.forget(stream.id)
                await stream.inbox.discard()


async def _ignore_lost(work: "asyncio.Future[None] | Awaitable[None]") -> None:
    """Wait for work whose client may be gone."""
    with contextlib.suppress(OSError):
        await work


class _SocketChannel:
    """The data channel of one port of a WebSocket."""

    def __init__(self, socket: WebSocket, codec: ChannelCodec, number: int) -> None:
        self._socket, self._codec, self._number = socket, codec, number
        self.inbox = Inbox()

    async def write(self, data: bytes) -> None:
        """Send data to the client."""
        await self._send(self._number, data)

    async def fail(self, message: str) -> None:
        """Send a message on the error channel."""
        await self._send(self._number + 1, message.encode())

    async def open(self, port: int) -> None:
        """Send the port on both channels, as clients expect."""
        for number in (self._number, self._number + 1):
            await self._send(number, port.to_bytes(2, "little"))

    async def _send(self, number: int, data: bytes) -> None:
        message = self._codec.encode(number, data)
        await self._socket.send(message, text=self._codec.is_text)


class WebSocketPortForward:
    """The connections that a client forwards by the channels of one WebSocket."""

    def __init__(self, socket: WebSocket, ports: Sequence[int], pod: str, connect: Connect) -> None:
        codec = ChannelCodec(socket.protocol)
        self._socket, self._codec, self._pod, self._connect = socket, codec, pod, connect
        self._ports = ports
        self._channels = [_SocketChannel(socket, codec, 2 * at) for at in range(len(ports))]

    async def run(self) -> None:
        """Forward until all connections have ended or the client disconnects."""
        for channel, port in zip(self._channels, self._ports, strict=True):
            await channel.open(port)
        await run_until_first(self._forward_all(), self._receive())

    async def _receive(self) -> None:
        while (message := await self._socket.receive()) is not None:
            parts = self._codec.decode(message)
            if parts is not None and parts[0] in range(0, 2 * len(self._channels), 2):
                await self._channels[parts[0] // 2].inbox.feed(parts[1])

    async def _forward_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for channel, port in zip(self._channels, self._ports, strict=True):
                group.create_task(_ignore_lost(self._forward(channel, port)))

    async def _forward(self, channel: _SocketChannel, port: int) -> None:
        try:
            await forward(channel, port, self._connect)
        except OSError as exc:
            await channel.fail(error_text(port, self._pod, exc))
