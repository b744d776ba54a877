"""Messages of a WebSocket whose client sends frames that could exhaust memory."""

from typing import cast

from podpass.http.upgrade import ByteStream
from podpass.http.websocket import WebSocket

# Frames of a client are masked: here by zeros.
EMPTY_START, EMPTY_PART = b"\x02\x80\0\0\0\0", b"\x00\x80\0\0\0\0"
END = b"\x80\x82\0\0\0\0ok"


class Stream:
    """The stream of a client that sends these chunks; it is its own reader and writer."""

    def __init__(self, *chunks: bytes) -> None:
        self.reader = self.writer = self
        self._chunks = list(chunks)

    async def read(self, _: int) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""

    async def drain(self) -> None:
        """Wait for nothing."""


async def test_empty_frames_of_a_message_take_no_memory() -> None:
    stream = Stream(EMPTY_START, *[EMPTY_PART * 100] * 3, END)
    socket = WebSocket(cast("ByteStream", stream), max_message_bytes=4096)
    read, kept = stream.read, list[int]()

    async def count_parts(size: int) -> bytes:
        kept.append(len(socket._parts))
        return await read(size)

    stream.read = count_parts  # type: ignore[method-assign,assignment]
    assert await socket.receive() == b"ok"
    assert kept == [0] * 5
