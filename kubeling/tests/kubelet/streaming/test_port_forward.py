"""Ports of a pod by the channels of a WebSocket, and by SPDY within the messages of a WebSocket."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator

import pytest

from kubeling.kubelet.errors import KubeletError
from kubeling.kubelet.streaming import port_forward, spdy_frames
from kubeling.kubelet.streaming.port_forward import TUNNEL_PROTOCOL, parse_ports
from kubeling.kubelet.streaming.spdy_frames import HeaderCodec
from tests.kubelet.cluster import KubeletCluster, shell
from tests.kubelet.streaming.clients import Channels, opened

FORWARD = {"subresource": "portforward"}


@pytest.fixture
async def pod(cluster: KubeletCluster) -> str:
    await cluster.run("pod", shell("while true; do sleep 1; done"))
    await cluster.phase("pod", "Running")
    return "pod"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Serve capitals until the end of the input."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data.upper())
        writer.write(b".")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Spdy:
    """A SPDY client within the messages of a WebSocket."""

    def __init__(self, channels: Channels) -> None:
        self._socket, self._headers, self._last = channels._socket, HeaderCodec(), -1
        self.data: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.reset: set[int] = set()

    async def open(self, **headers: str) -> int:
        self._last += 2
        head = struct.pack(">IIH", self._last, 0, 0)
        await self.control(spdy_frames.SYN_STREAM, head + self._headers.encode(headers))
        return self._last

    async def control(self, kind: int, payload: bytes) -> None:
        await self._socket.send_bytes(spdy_frames.control_frame(kind, payload))

    async def send(self, stream: int, data: bytes, *, ends: bool = False) -> None:
        frame = spdy_frames.data_frame(stream, data, spdy_frames.FIN if ends else 0)
        # A frame may arrive in any parts.
        for part in (frame[:3], frame[3:9], frame[9:]):
            await self._socket.send_bytes(part)

    async def until_ended(self, *streams: int) -> None:
        while not set(streams) <= self.ended | self.reset:
            self._handle((await self._socket.receive(timeout=20)).data)

    def _handle(self, frame: bytes) -> None:
        head = spdy_frames.parse_head(frame[:8])
        if head.kind == spdy_frames.RST_STREAM:
            self.reset.add(spdy_frames.parse_stream_id(frame[8:]))
        elif not head.kind:
            self.data[head.stream] = self.data.get(head.stream, b"") + frame[8:]
            if head.flags & spdy_frames.FIN:
                self.ended.add(head.stream)


@contextlib.asynccontextmanager
async def tunnel(cluster: KubeletCluster, pod: str) -> AsyncIterator[Spdy]:
    async with opened(cluster, pod, [], protocols=(TUNNEL_PROTOCOL,), **FORWARD) as channels:
        yield Spdy(channels)


async def pair(spdy: Spdy, port: int | str, request: str = "0") -> tuple[int, int]:
    """Open both streams of a connection; return those of errors and of data."""
    headers = {"port": str(port), "requestid": request}
    return (
        await spdy.open(streamtype="error", **headers),
        await spdy.open(streamtype="data", **headers),
    )


async def test_several_connections_share_a_tunnel(
    cluster: KubeletCluster, pod: str, port: int
) -> None:
    async with tunnel(cluster, pod) as spdy:
        _, first = await pair(spdy, port, "0")
        error, second = await pair(spdy, port, "1")
        await spdy.send(second, b"two", ends=True)
        await spdy.until_ended(second, error)
        await spdy.send(first, b"one", ends=True)
        await spdy.until_ended(first)
    assert (spdy.data[first], spdy.data[second]) == (b"ONE.", b"TWO.")
    assert spdy.data[error] == b""


async def test_refused_port_connection_does_not_affect_other_connections(
    cluster: KubeletCluster, pod: str, port: int, unused_tcp_port: int
) -> None:
    async with tunnel(cluster, pod) as spdy:
        error, data = await pair(spdy, unused_tcp_port, "0")
        await spdy.until_ended(error, data)
        assert b"error forwarding port" in spdy.data[error]
        assert data in spdy.reset
        _, data = await pair(spdy, port, "1")
        await spdy.send(data, b"still", ends=True)
        await spdy.until_ended(data)
    assert spdy.data[data] == b"STILL."


async def test_invalid_port_is_an_error(cluster: KubeletCluster, pod: str) -> None:
    async with tunnel(cluster, pod) as spdy:
        error, data = await pair(spdy, "0")
        await spdy.until_ended(error, data)
    assert b'unable to parse "0" as a port' in spdy.data[error]


async def test_stream_without_its_pair_is_reset(
    cluster: KubeletCluster, pod: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_forward, "PAIR_SECONDS", 0.01)
    async with tunnel(cluster, pod) as spdy:
        alone = await spdy.open(streamtype="data", port="80", requestid="0")
        other = await spdy.open(streamtype="video", port="80", requestid="1")
        await spdy.until_ended(alone, other)
    assert spdy.reset == {alone, other}


async def test_each_forwarded_port_has_a_data_and_an_error_channel(
    cluster: KubeletCluster, pod: str, port: int
) -> None:
    query = [("ports", str(port)), ("ports", str(port))]
    async with opened(cluster, pod, query, **FORWARD) as channels:
        await channels.send(2, b"second")
        await channels.until(2, b"SECOND")
        await channels.send(0, b"first")
        await channels.until(0, b"FIRST")
    number = port.to_bytes(2, "little")
    assert channels.received[0] == number + b"FIRST"
    assert channels.received[1] == number


def test_ports_are_parsed() -> None:
    assert parse_ports(["80,8080", "1"]) == [80, 8080, 1]
    for text in ("", "0", "65536", "-1", "8o", "٣", "000080"):
        with pytest.raises(KubeletError):
            parse_ports([text])
