"""One connection to a port of a pod, against a server of the WebSocket protocol."""

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.client.port_forward import ForwardFailed, forward_port
from tests.kubernetes.client.conftest import ServeSockets

# The kubelet announces the port on both channels, in little-endian order.
_PORTS = [b"\x00\xfb\x20", b"\x01\xfb\x20"]
_ERROR = b"error forwarding port 8443 to pod p: connection refused"


@pytest.fixture
def serve(serve_sockets: ServeSockets) -> Callable[..., Any]:
    """Start a server that sends messages, then what it receives, and ends after the word `end`."""

    async def start(messages: list[bytes]) -> tuple[KubeClient, list[Any]]:
        async def handle(socket: web.WebSocketResponse) -> None:
            for each in messages:
                await socket.send_bytes(each)
            async for message in socket:
                if message.data == b"\x00end":
                    break
                await socket.send_bytes(message.data)
            await socket.close()

        return await serve_sockets("v4.channel.k8s.io", handle if messages else None)

    return start


async def test_data_is_forwarded_until_the_pod_ends_the_connection(
    serve: Callable[..., Any],
) -> None:
    client, seen = await serve([*_PORTS, b"", b"\x00"])
    async with client, forward_port(client, "n", "p", 8443) as stream:
        for text in (b"one", b"two"):
            await stream.send(text)
            assert await stream.receive() == text
        await stream.send(b"end")
        assert await stream.receive() == b""
        with pytest.raises(ForwardFailed, match="has ended"):
            await stream.send(b"late")
    assert seen == [("/api/v1/namespaces/n/pods/p/portforward", [("ports", "8443")])]


async def test_error_of_the_kubelet_is_raised_with_its_text(serve: Callable[..., Any]) -> None:
    client, _ = await serve([*_PORTS, b"\x01" + _ERROR])
    async with client, forward_port(client, "n", "p", 8443) as stream:
        with pytest.raises(ForwardFailed) as caught:
            await stream.receive()
    assert caught.value.message == _ERROR.decode()


async def test_refused_connection_has_the_status_of_the_server(serve: Callable[..., Any]) -> None:
    client, _ = await serve([])
    async with client:
        with pytest.raises(KubeError) as caught:
            async with forward_port(client, "n", "p", 8443):
                raise AssertionError("the connection was not refused")
    assert caught.value.status == 403
