"""A small HTTPS server in the place of the API server, which records requests."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest
import trustme
import yaml
from aiohttp import web

from podpass.http.server import (
    Receive,
    Scope,
    Send,
    header,
    read_body,
    respond,
    server_tls,
    serving,
)
from podpass.kubernetes.client import KubeClient, Target
from podpass.servers.listen import listen
from tests.kubeconfigs import build_kubeconfig

Reply = tuple[int, Any]
# Takes the protocol, and a function that uses the WebSocket; None refuses the request.
ServeSockets = Callable[
    [str, Callable[[web.WebSocketResponse], Awaitable[None]] | None],
    Awaitable[tuple[KubeClient, list[Any]]],
]
Handler = Callable[["RecordedRequest"], Reply | Awaitable[Reply | None] | None]


@dataclass(kw_only=True)
class RecordedRequest:
    """One request, with methods to send the response in parts."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    client_name: bytes | None
    send: Send

    async def begin(self) -> None:
        await self.send({"type": "http.response.start", "status": 200, "headers": []})

    async def event(self, kind: str, item: Any) -> None:
        await self.raw(orjson.dumps({"type": kind, "object": item}) + b"\n")

    async def raw(self, data: bytes) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        await self.send({"type": "http.response.body", "body": b""})


@dataclass(kw_only=True)
class Server:
    """The server: set `handler`, read `requests`."""

    port: int
    folder: Path
    ca: trustme.CA
    requests: list[RecordedRequest] = field(default_factory=list)
    handler: Handler = lambda _: (200, {})

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tls = scope.get("extensions", {}).get("tls", {})
        request = RecordedRequest(
            method=scope["method"],
            path=scope["path"],
            query=dict(parse_qsl(scope["query_string"].decode())),
            headers={k.decode(): v.decode() for k, v in scope["headers"]},
            body=await read_body(receive, 10_000_000),
            client_name=tls.get("client_cert"),
            send=send,
        )
        assert header(scope, b"host")
        self.requests.append(request)
        reply = self.handler(request)
        if asyncio.iscoroutine(reply):
            reply = await reply
        if reply is not None:
            status, body = reply  # type: ignore[misc]  # awaited above
            data = body if isinstance(body, bytes) else orjson.dumps(body)
            await respond(send, status, data)

    def kubeconfig(self, user: dict[str, Any], **cluster: Any) -> Path:
        """Write a kubeconfig for this server."""
        ca = base64.b64encode(self.ca.cert_pem.bytes()).decode()
        given = {"server": self.url, "certificate-authority-data": ca, **cluster}
        config = build_kubeconfig(user=user, **given)
        path = self.folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path


@pytest.fixture
async def server(tmp_path: Path, ca: trustme.CA) -> AsyncIterator[Server]:
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    leaf = ca.issue_cert("127.0.0.1", "::1", "kubernetes.example")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "leaf.pem"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "leaf.key"))
    sock = listen("--listen", ":0")
    made = Server(port=sock.getsockname()[1], folder=tmp_path, ca=ca)
    tls = server_tls(
        str(tmp_path / "leaf.pem"), str(tmp_path / "leaf.key"), client_ca=str(tmp_path / "ca.pem")
    )
    async with serving(made, sock, tls):
        yield made


@pytest.fixture
async def serve_sockets() -> AsyncIterator[ServeSockets]:
    """Start a server of the WebSocket protocol, which records the requests."""
    runners: list[web.AppRunner] = []

    async def start(
        protocol: str, handle: Callable[[web.WebSocketResponse], Awaitable[None]] | None
    ) -> tuple[KubeClient, list[Any]]:
        seen: list[Any] = []

        async def answer(request: web.Request) -> web.StreamResponse:
            seen.append((request.path, list(request.query.items())))
            if handle is None:
                return web.json_response({}, status=403)
            socket = web.WebSocketResponse(protocols=(protocol,))
            await socket.prepare(request)
            await handle(socket)
            return socket

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return KubeClient(Target(server=f"http://127.0.0.1:{runner.addresses[0][1]}")), seen

    yield start
    for each in runners:
        await each.cleanup()
