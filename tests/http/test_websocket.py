"""Messages of a WebSocket whose client sends frames that could exhaust memory."""

import tracemalloc
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
    chunk = EMPTY_PART * 1000
    stream = Stream(EMPTY_START, *[chunk] * 100, END)
    socket = WebSocket(cast("ByteStream", stream), max_message_bytes=4096)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        assert await socket.receive() == b"ok"
        # The events of a chunk take memory until the next one.
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 750_000
