"""The transports of SPDY: the bytes of an upgraded connection, or the messages of a WebSocket."""

from kubeling.asgi import ByteStream, WebSocket


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
