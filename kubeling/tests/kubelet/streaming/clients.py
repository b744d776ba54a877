"""A WebSocket client of the API server, and the certificates of a client of the kubelet."""

import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp

from tests.kubelet.cluster import PODS, KubeletCluster, client_context

V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)


class Channels:
    """The channels of a WebSocket; `text` and `status` are complete after `finish`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self.received: dict[int, bytes] = {}

    @property
    def protocol(self) -> str | None:
        return self._socket.protocol

    async def send(self, channel: int, data: bytes) -> None:
        await self._socket.send_bytes(bytes([channel]) + data)

    async def receive(self) -> bool:
        """Receive one message; return False at the end."""
        message = await self._socket.receive(timeout=20)
        if message.type not in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
            return False
        data = message.data if isinstance(message.data, bytes) else message.data.encode()
        channel = data[0]
        self.received[channel] = self.received.get(channel, b"") + data[1:]
        return True

    async def until(self, channel: int, text: bytes) -> None:
        """Receive until a channel contains a text."""
        while text not in self.received.get(channel, b""):
            assert await self.receive(), self.received

    async def finish(self) -> None:
        """Receive until the server closes the WebSocket."""
        while await self.receive():
            pass

    def text(self, channel: int = STDOUT) -> str:
        return self.received.get(channel, b"").decode()

    @property
    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.received[ERROR]))

    @property
    def exit_code(self) -> int:
        if self.status["status"] == "Success":
            return 0
        assert self.status["reason"] == "NonZeroExitCode", self.status
        return int(self.status["details"]["causes"][0]["message"])


@contextlib.asynccontextmanager
async def opened(
    cluster: KubeletCluster,
    pod: str,
    query: Sequence[tuple[str, str]],
    *,
    subresource: str = "exec",
    protocols: Sequence[str] = (V4,),
    token: str = "admin-token",
) -> AsyncIterator[Channels]:
    """Open a WebSocket to a pod through the API server."""
    context = client_context(cluster.folder, cluster.ca, None)
    url = f"{cluster.server}{PODS}/{pod}/{subresource}"
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session,
        session.ws_connect(
            url,
            params=query,
            protocols=protocols,
            headers={"authorization": f"Bearer {token}"},
        ) as socket,
    ):
        yield Channels(socket)


def command(*words: str, **flags: bool) -> list[tuple[str, str]]:
    """Return the query of an exec request; stdout and stderr are requested unless given."""
    wanted = {"stdout": True, "stderr": True, **flags}
    query = [("command", word) for word in words]
    return query + [(name, "true") for name, value in wanted.items() if value]


async def run(cluster: KubeletCluster, pod: str, *words: str, **how: Any) -> Channels:
    """Run a command to its end."""
    async with opened(cluster, pod, command(*words), **how) as channels:
        await channels.finish()
        return channels
