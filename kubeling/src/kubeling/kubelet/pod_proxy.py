"""Send requests and WebSockets of the API server on to a port of a pod, as a program next to it does."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kubeling.asgi import Receive, Scope, Send, wait_for_disconnect
from kubeling.kubelet.pod_network import PodNetwork
from kubeling.tasks import run_until_first

# The headers of one connection; the client adds its own.
HOP_BY_HOP = frozenset(
    (
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)
_CONNECT_SECONDS = 30.0
_MAX_MESSAGE = 16 * 1024 * 1024


async def forward(
    call: tuple[Scope, Receive, Send], origin: str, network: PodNetwork | None
) -> None:
    """Send a request to an origin, such as `https://127.64.0.9:8443`, and its response to the client.

    Raises:
        OSError: the connection failed before the response.
    """
    scope, receive, send = call
    if scope["type"] == "websocket":
        await _forward_websocket(scope, receive, send, origin, network)
        return
    body = _Body(scope, receive)
    await run_until_first(_forward(scope, body, send, origin, network), body.wait_for_disconnect())


class _Body:
    """The body of a request, which is sent on as it arrives."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._is_complete = asyncio.Event()
        names = {bytes(name) for name, _ in scope["headers"]}
        self.has_data = not names.isdisjoint((b"content-length", b"transfer-encoding"))
        if not self.has_data:
            self._is_complete.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the parts. Raises ConnectionError: the client disconnects before the end."""
        while not self._is_complete.is_set():
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionAbortedError("the client has disconnected")
            yield message.get("body", b"")
            if not message.get("more_body"):
                self._is_complete.set()

    async def wait_for_disconnect(self) -> None:
        """Wait until the client disconnects after its request."""
        await self._is_complete.wait()
        await wait_for_disconnect(self._receive)


async def _forward(
    scope: Scope, body: _Body, send: Send, origin: str, network: PodNetwork | None
) -> None:
    async with (
        _session(network) as session,
        session.request(
            scope["method"],
            _url(scope, origin),
            headers=_headers(scope),
            data=body.chunks() if body.has_data else None,
            allow_redirects=False,
        ) as response,
    ):
        headers = [
            (name.lower(), value)
            for name, value in response.raw_headers
            if name.decode("latin-1").lower() not in HOP_BY_HOP
        ]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        async for chunk in response.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _forward_websocket(
    scope: Scope, receive: Receive, send: Send, origin: str, network: PodNetwork | None
) -> None:
    """Connect to the pod, then send on the messages of both sides until one of them closes."""
    import aiohttp

    await receive()  # the event of the handshake
    protocols = tuple(scope.get("subprotocols") or ())
    handshake = {"headers": _headers(scope), "protocols": protocols, "max_msg_size": _MAX_MESSAGE}
    async with (
        _session(network) as session,
        session.ws_connect(_url(scope, origin), **handshake) as pod,
    ):
        await send({"type": "websocket.accept", "subprotocol": pod.protocol})

        is_disconnected = asyncio.Event()

        async def send_to_pod() -> None:
            while (message := await receive())["type"] != "websocket.disconnect":
                if (text := message.get("text")) is not None:
                    await pod.send_str(text)
                else:
                    await pod.send_bytes(message["bytes"])
            is_disconnected.set()  # the loop below ends before this call has sent its code
            await pod.close(code=message.get("code") or 1000)

        sending = asyncio.create_task(send_to_pod())
        try:
            async for message in pod:
                name = "text" if message.type is aiohttp.WSMsgType.TEXT else "bytes"
                await send({"type": "websocket.send", name: message.data})
            if is_disconnected.is_set():
                await sending
            else:
                await send({"type": "websocket.close", "code": pod.close_code or 1000})
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


def _url(scope: Scope, origin: str) -> Any:
    import yarl

    query = bytes(scope["query_string"]).decode("latin-1")
    target = bytes(scope["raw_path"]).decode("latin-1") + (f"?{query}" if query else "")
    return yarl.URL(origin + target, encoded=True)


def _headers(scope: Scope) -> list[tuple[str, str]]:
    sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    return [
        (name, value)
        for name, value in sent
        if name not in HOP_BY_HOP and not name.startswith("sec-websocket-")
    ]


@asynccontextmanager
async def _session(network: PodNetwork | None) -> AsyncIterator[Any]:
    """Return a session of one request, in the network of a pod. Raises OSError: the request failed."""
    import aiohttp

    def open_socket(_: object) -> socket.socket:
        assert network is not None
        return network.open_socket()

    # As in the API server, the certificate of the pod is not verified, because there is no name to verify.
    connector = aiohttp.TCPConnector(
        ssl=False, force_close=True, socket_factory=open_socket if network else None
    )
    try:
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        ) as session:
            yield session
    except aiohttp.ClientConnectorError as exc:
        reason = exc.os_error.strerror or str(exc.os_error)
        raise OSError(f"dial tcp {exc.host}:{exc.port}: connect: {reason.lower()}") from exc
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise OSError(str(exc) or type(exc).__name__) from exc
