"""A SPDY connection, server side: streams that the client opens, over any transport of bytes."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Protocol

from kubeling.asgi import ByteStream, WebSocket
from kubeling.kubelet.streaming import spdy_frames as frames
from kubeling.kubelet.streaming.inbox import Inbox
from kubeling.kubelet.streaming.spdy_frames import FrameHead, SpdyError

# Each forwarded connection has two streams.
MAX_STREAMS = 512
_CHUNK = 64 * 1024


class Transport(Protocol):
    """Reads and writes the bytes of a connection."""

    async def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""

    async def write(self, data: bytes) -> None:
        """Write data, and wait while the client does not read. Raises OSError."""


class StreamTransport:
    """SPDY directly over an upgraded connection."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        return await self._stream.reader.read(size)

    async def write(self, data: bytes) -> None:
        """Write data, and wait while the client does not read."""
        if self._stream.writer.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._stream.writer.write(data)
        await self._stream.writer.drain()


class WebSocketTransport:
    """SPDY within the messages of a WebSocket, as kubectl 1.31 and later forward ports."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._message = memoryview(b"")

    async def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        while not self._message:
            if (message := await self._socket.receive()) is None:
                return b""
            self._message = memoryview(message)
        part, self._message = self._message[:size], self._message[size:]
        return bytes(part)

    async def write(self, data: bytes) -> None:
        """Send data as a message."""
        await self._socket.send(data)


class SpdyStream:
    """One stream of a connection."""

    def __init__(self, connection: "SpdyConnection", id_: int, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self.id, self.headers = id_, headers
        self.inbox = Inbox()
        self._ended = self.is_reset = False

    async def write(self, data: bytes) -> None:
        """Send data. Raises OSError, also after the client has reset the stream."""
        if self._ended:
            raise ConnectionResetError("the stream is closed")
        for start in range(0, len(data), _CHUNK):
            part = data[start : start + _CHUNK]
            await self._connection.send(frames.data_frame(self.id, part))

    async def end(self) -> None:
        """Send the end of this side's data."""
        if not self._ended:
            self._ended = True
            await self._connection.send(frames.data_frame(self.id, b"", frames.FIN))

    async def reset(self, status: int = frames.CANCEL) -> None:
        """End both sides with an error."""
        if self._connection.forget(self.id):
            self._ended = True
            await self.inbox.discard()
            await self._connection.send(frames.reset_frame(self.id, status))

    async def on_reset(self) -> None:
        """Handle a reset by the client, or the end of the connection."""
        self._ended = self.is_reset = True
        await self.inbox.end()


class SpdyConnection:
    """Reads the frames of a connection in `run`, and puts new streams into `incoming`.

    `incoming` contains None after the connection has ended.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._headers = frames.HeaderCodec()
        self._streams: dict[int, SpdyStream] = {}
        self._last_stream = 0
        self._write_lock = asyncio.Lock()
        self.incoming: asyncio.Queue[SpdyStream | None] = asyncio.Queue()

    async def run(self) -> None:
        """Handle frames until the client closes the connection or breaks the protocol."""
        try:
            while head := await self._read_exactly(frames.HEAD_BYTES):
                await self._handle(frames.parse_head(head))
        except (SpdyError, OSError):
            return
        finally:
            for stream in tuple(self._streams.values()):
                await stream.on_reset()
            self.incoming.put_nowait(None)

    async def send(self, frame: bytes) -> None:
        """Send one frame. Raises OSError."""
        async with self._write_lock:
            await self._transport.write(frame)

    async def ping(self) -> None:
        """Send a ping, which detects a disconnected client. Raises OSError."""
        await self.send(frames.control_frame(frames.PING, (2).to_bytes(4, "big")))

    async def close(self) -> None:
        """Announce the end of the connection; its transport is closed by its owner."""
        with contextlib.suppress(OSError):
            await self.send(frames.goaway_frame(self._last_stream))

    def forget(self, id_: int) -> bool:
        """Remove a stream; return whether it existed."""
        return self._streams.pop(id_, None) is not None

    async def _read_exactly(self, size: int) -> bytes:
        """Return exactly this number of bytes; none at the end of the connection."""
        data = b""
        while len(data) < size:
            part = await self._transport.read(size - len(data))
            if not part:
                return b""
            data += part
        return data

    async def _handle(self, head: FrameHead) -> None:
        if not head.kind:
            await self._handle_data(head)
            return
        payload = await self._read_exactly(head.length)
        match head.kind:
            case frames.SYN_STREAM:
                await self._open(payload, ends=bool(head.flags & frames.FIN))
            case frames.RST_STREAM:
                if stream := self._streams.pop(frames.parse_stream_id(payload), None):
                    await stream.on_reset()
            case frames.PING if len(payload) == 4 and payload[-1] % 2:
                # The numbers of a client's pings are odd; an even one is the answer to ours.
                await self.send(frames.control_frame(frames.PING, payload))
            case frames.HEADERS:
                # Nothing uses them, but both sides must compress with the same history.
                self._headers.decode(payload[4:])

    async def _handle_data(self, head: FrameHead) -> None:
        """Pass on the data of a frame as it arrives; a client may send frames of 16 MiB."""
        stream, left = self._streams.get(head.stream), head.length
        while left:
            data = await self._transport.read(min(left, _CHUNK))
            if not data:
                raise SpdyError("the connection ended within a frame")
            left -= len(data)
            if stream is not None:
                await stream.inbox.feed(data)
        if stream is not None and head.flags & frames.FIN:
            await stream.inbox.end()

    async def _open(self, payload: bytes, *, ends: bool) -> None:
        id_ = frames.parse_stream_id(payload)
        headers = self._headers.decode(payload[10:])
        if id_ <= self._last_stream or id_ % 2 == 0:
            raise SpdyError("the number of a new stream must be odd and higher than the last one")
        self._last_stream = id_
        if len(self._streams) >= MAX_STREAMS:
            await self.send(frames.reset_frame(id_, frames.REFUSED_STREAM))
            return
        stream = self._streams[id_] = SpdyStream(self, id_, headers)
        if ends:
            await stream.inbox.end()
        reply = id_.to_bytes(4, "big") + self._headers.encode({})
        await self.send(frames.control_frame(frames.SYN_REPLY, reply))
        self.incoming.put_nowait(stream)
