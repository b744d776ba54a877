"""Forward one connection to a port of a pod, by the channels of a WebSocket.

Source: kubernetes/kubernetes, staging/src/k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go (v4).
Each port has two channels, for data and for an error. The first message of each is the number of the port.
The protocol cannot signal that one side has sent everything: the connection ends for both at once.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp

from podpass.kubernetes.client.client import KubeClient
from podpass.kubernetes.client.errors import KubeError

_PROTOCOLS = ("v4.channel.k8s.io",)
_DATA, _ERROR = 0, 1
_PORT_BYTES = 2
_CLOSE_SECONDS = 5.0
_MAX_ERROR = 300


class ForwardFailed(KubeError):
    """The kubelet cannot connect to the port of the pod."""

    code = "port_forward_failed"

    def __init__(self, message: str) -> None:
        super().__init__(502, "ForwardFailed", message)


class PortForward:
    """One connection to a port of a pod."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._announced: set[int] = set()

    async def send(self, data: bytes) -> None:
        """Send data to the pod. Raises KubeError if the connection has ended."""
        try:
            await self._socket.send_bytes(bytes([_DATA]) + data)
        except (aiohttp.ClientError, OSError) as exc:
            raise ForwardFailed("the connection to the pod has ended") from exc

    async def receive(self) -> bytes:
        """Return the next data of the pod; nothing when the connection has ended.

        Raises ForwardFailed with the kubelet's text.
        """
        async for message in self._socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in self._announced:
                self._announced.add(channel)
                data = data[_PORT_BYTES:]
            if channel == _ERROR and data:
                raise ForwardFailed(data.decode("utf-8", "replace")[:_MAX_ERROR])
            if channel == _DATA and data:
                return bytes(data)
        return b""


@asynccontextmanager
async def forward_port(
    client: KubeClient, namespace: str, pod: str, port: int
) -> AsyncIterator[PortForward]:
    """Connect to a port of a pod; the connection is closed with the context. Raises KubeError."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/portforward"
    socket = await client.websocket(
        path, [("ports", str(port))], _PROTOCOLS, None, close_seconds=_CLOSE_SECONDS
    )
    async with socket:
        yield PortForward(socket)
