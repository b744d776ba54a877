"""SPDY frames and connections: the dictionary, the limits, and streams without a reader."""

import asyncio
import struct
import zlib

import pytest

from kubeling.kubelet.streaming import spdy, spdy_frames
from kubeling.kubelet.streaming.inbox import Inbox
from kubeling.kubelet.streaming.spdy import SpdyConnection
from kubeling.kubelet.streaming.spdy_frames import HeaderCodec, SpdyError


class Bytes:
    """A transport that contains what a client has sent, and records the responses."""

    def __init__(self, sent: bytes) -> None:
        self._left, self.written = memoryview(sent), b""

    async def read(self, size: int) -> bytes:
        part, self._left = self._left[:size], self._left[size:]
        return bytes(part)

    async def write(self, data: bytes) -> None:
        self.written += data


def syn_stream(number: int, codec: HeaderCodec, **headers: str) -> bytes:
    payload = struct.pack(">IIH", number, 0, 0) + codec.encode(headers)
    return spdy_frames.control_frame(spdy_frames.SYN_STREAM, payload)


async def receive(sent: bytes) -> tuple[SpdyConnection, Bytes]:
    transport = Bytes(sent)
    connection = SpdyConnection(transport)
    await asyncio.wait_for(connection.run(), 20)
    return connection, transport


def test_header_codec_round_trip_with_shared_compression_state_is_unchanged() -> None:
    sender, receiver = HeaderCodec(), HeaderCodec()
    for number in range(3):
        headers = {"streamtype": "data", "port": "80", "requestid": str(number)}
        assert receiver.decode(sender.encode(headers)) == headers


def test_dictionary_is_that_of_the_specification() -> None:
    """Every zlib stream with a dictionary names its checksum; other implementations send this one."""
    assert zlib.adler32(spdy_frames._DICTIONARY) == 0xE3C6A7C2
    assert HeaderCodec().encode({})[2:6] == (0xE3C6A7C2).to_bytes(4, "big")


def test_headers_that_expand_without_limit_are_refused() -> None:
    """Fails without the limit: a frame of 16 KiB may contain 16 MiB of headers."""
    bomb = HeaderCodec().encode({"a": "b" * 1_000_000})
    assert len(bomb) < spdy_frames.MAX_CONTROL_BYTES
    with pytest.raises(SpdyError, match="too long"):
        HeaderCodec().decode(bomb)


@pytest.mark.parametrize(
    "block",
    [b"", b"\x00" * 3, struct.pack(">II", 2**31, 1), struct.pack(">III", 1, 2**31, 0)],
)
def test_malformed_headers_are_refused(block: bytes) -> None:
    compress = zlib.compressobj(zdict=spdy_frames._DICTIONARY)
    data = compress.compress(block) + compress.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(SpdyError):
        HeaderCodec().decode(data)


@pytest.mark.parametrize(
    "head",
    [
        struct.pack(">HHI", 0x8002, 1, 0),
        struct.pack(">HHI", 0x8003, 1, spdy_frames.MAX_CONTROL_BYTES + 1),
    ],
)
def test_frames_of_other_versions_and_long_control_frames_are_refused(head: bytes) -> None:
    with pytest.raises(SpdyError):
        spdy_frames.parse_head(head)


@pytest.mark.parametrize("numbers", [(2,), (3, 1), (1, 1)])
async def test_connection_closes_if_stream_ids_do_not_increase(numbers: tuple[int, ...]) -> None:
    codec = HeaderCodec()
    sent = b"".join(syn_stream(number, codec) for number in numbers)
    connection, _ = await receive(sent + syn_stream(9, codec))
    found = [connection.incoming.get_nowait() for _ in range(connection.incoming.qsize())]
    assert [stream.id for stream in found if stream] == list(numbers[:-1])
    assert found[-1] is None


async def test_streams_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spdy, "MAX_STREAMS", 2)
    codec = HeaderCodec()
    sent = b"".join(syn_stream(number, codec) for number in (1, 3, 5))
    connection, transport = await receive(sent)
    assert connection.incoming.qsize() == 3  # two streams, and the end
    assert transport.written.endswith(spdy_frames.reset_frame(5, spdy_frames.REFUSED_STREAM))


async def test_ping_of_a_client_is_answered() -> None:
    ping = spdy_frames.control_frame(spdy_frames.PING, (7).to_bytes(4, "big"))
    answer = spdy_frames.control_frame(spdy_frames.PING, (2).to_bytes(4, "big"))
    _, transport = await receive(ping + answer)
    assert transport.written == ping


async def test_stream_ends_after_the_frame_with_the_fin_flag() -> None:
    codec = HeaderCodec()
    sent = syn_stream(1, codec) + spdy_frames.data_frame(1, b"x" * 100_000, spdy_frames.FIN)
    connection, _ = await receive(sent + spdy_frames.data_frame(99, b"unknown"))
    stream = connection.incoming.get_nowait()
    assert stream is not None
    assert await stream.inbox.read() == b"x" * 100_000
    assert await stream.inbox.read() == b""


async def test_full_inbox_makes_its_sender_wait() -> None:
    """Fails without the limit: a client would fill the memory if a program reads nothing."""
    inbox = Inbox(limit=10)
    feeding = asyncio.create_task(inbox.feed(b"x" * 10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not feeding.done()
    assert await inbox.read() == b"x" * 10
    await asyncio.wait_for(feeding, 20)


async def test_discarded_inbox_releases_its_sender() -> None:
    inbox = Inbox(limit=10)
    feeding = asyncio.create_task(inbox.feed(b"x" * 10))
    await asyncio.sleep(0)
    await inbox.discard()
    await asyncio.wait_for(feeding, 20)
    await inbox.feed(b"y" * 100)
    assert await inbox.read() == b""
