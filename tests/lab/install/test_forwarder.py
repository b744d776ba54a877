"""Connections to the cloud's pod: replaced pods, refusals, and several connections, on a small API server."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from podpass.clock import system
from podpass.kubernetes.client import KubeClient, Target
from podpass.lab.gateway import gateway
from podpass.lab.install.forwarder import CloudForwarder, build_routes, run_forwarder
from tests.kubeconfigs import build_kubeconfig


@dataclass
class Cluster:
    """An API server with the pods of an installation; a pod echoes with its name, or has just ended."""

    pods: list[str] = field(default_factory=lambda: ["cloud-1"])
    ended: set[str] = field(default_factory=set)
    replaced_by: str = ""
    refused: bool = False
    token: str = ""
    list_seconds: float = 0
    listed: int = 0
    opened: list[str] = field(default_factory=list)

    async def list_pods(self, _: web.Request) -> web.Response:
        self.listed += 1
        await asyncio.sleep(self.list_seconds)
        ready = {"containerStatuses": [{"ready": True}]}
        pods = [{"metadata": {"name": name}, "status": ready} for name in self.pods]
        return web.json_response({"metadata": {}, "items": pods})

    async def forward(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        self.opened.append(name)
        if self.refused:
            return web.json_response({}, status=403)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return web.json_response({}, status=401)
        if name not in self.pods:
            return web.json_response({}, status=404)
        socket = web.WebSocketResponse(protocols=("v4.channel.k8s.io",))
        await socket.prepare(request)
        for channel in (b"\x00", b"\x01"):
            await socket.send_bytes(channel + b"\xfb\x20")
        async for message in socket:
            if name in self.ended:
                self.pods = [self.replaced_by] if self.replaced_by else []
                break
            await socket.send_bytes(b"\x00" + name.encode() + b":" + message.data[1:])
            if message.data == b"\x00end":
                break
        await socket.close()
        return socket


@asynccontextmanager
async def served(cluster: Cluster, sock: socket.socket | None = None) -> AsyncIterator[str]:
    """Serve the API; yield its origin."""
    sock = sock or socket.create_server(("127.0.0.1", 0))
    app = web.Application()
    app.router.add_get("/api/v1/namespaces/n/pods", cluster.list_pods)
    app.router.add_get("/api/v1/namespaces/n/pods/{name}/portforward", cluster.forward)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[KubeClient]:
    """Serve the API; yield a client of it."""
    async with served(cluster) as server, KubeClient(Target(server=server)) as client:
        yield client


@asynccontextmanager
async def forwarding(
    client: KubeClient, *, wait_seconds: float = 20, max_connections: int = 100
) -> AsyncIterator[int]:
    """Run a forwarder with a client; yield its port."""

    async def pause(_: float) -> None:
        await asyncio.sleep(0)

    forwarder = CloudForwarder(
        client,
        "n",
        clock=system,
        sleep=pause,
        wait_seconds=wait_seconds,
        max_connections=max_connections,
    )
    server = await asyncio.start_server(forwarder.handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def forwarded(cluster: Cluster, **limits: Any) -> AsyncIterator[int]:
    """Serve the API and a forwarder; yield its port."""
    async with connected(cluster) as client, forwarding(client, **limits) as port:
        yield port


async def ask(port: int, text: bytes) -> bytes:
    """Send a text on a new connection; return the answer, nothing if there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    try:
        return await reader.read(100)
    finally:
        writer.close()


async def test_many_connections_search_for_the_pod_once() -> None:
    cluster = Cluster()
    async with forwarded(cluster) as port:
        texts = [f"text {number}".encode() for number in range(20)]
        answers = await asyncio.gather(*(ask(port, text) for text in texts))
    assert answers == [b"cloud-1:" + text for text in texts]
    assert cluster.listed == 1


async def test_connection_during_a_replacement_reaches_the_next_pod() -> None:
    cluster = Cluster(ended={"cloud-1"}, replaced_by="cloud-2")
    async with forwarded(cluster) as port:
        assert await ask(port, b"hello") == b"cloud-2:hello"
    assert cluster.opened == ["cloud-1", "cloud-2"]


async def test_connection_ends_when_a_pod_that_stays_ready_never_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "podpass")
    cluster = Cluster(ended={"cloud-1"}, replaced_by="cloud-1")
    async with forwarded(cluster) as port:
        assert await ask(port, b"hello") == b""
    assert cluster.opened == ["cloud-1"] * 10
    [record] = [each for each in caplog.records if each.message == "forward_failed"]
    assert "ends each connection without an answer" in vars(record)["cause"]


async def test_deleted_pod_is_searched_again() -> None:
    cluster = Cluster()
    async with forwarded(cluster) as port:
        assert await ask(port, b"one") == b"cloud-1:one"
        cluster.pods = ["cloud-2"]
        assert await ask(port, b"two") == b"cloud-2:two"


async def test_connection_ends_when_no_pod_becomes_ready_in_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "podpass")
    async with forwarded(Cluster(pods=[]), wait_seconds=0) as port:
        assert await ask(port, b"hello") == b""
    [record] = [each for each in caplog.records if each.message == "forward_failed"]
    assert vars(record)["cause"] == "namespace n has no cloud that is ready"


async def test_refusal_of_the_api_server_is_not_retried() -> None:
    cluster = Cluster(refused=True)
    async with forwarded(cluster) as port:
        assert await ask(port, b"hello") == b""
    assert cluster.opened == ["cloud-1"]


def write_kubeconfig(path: Path, server: str, token: str) -> None:
    path.write_text(json.dumps(build_kubeconfig(server, {"token": token})))


async def test_token_that_was_renewed_in_the_kubeconfig_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cluster, path = Cluster(token="first"), tmp_path / "config"
    async with served(cluster) as server:
        write_kubeconfig(path, server, "first")
        async with KubeClient.from_kubeconfig(path) as client, forwarding(client) as port:
            assert await ask(port, b"one") == b"cloud-1:one"
            cluster.token = "second token"
            assert await ask(port, b"two") == b""
            write_kubeconfig(path, server, "second token")
            assert await ask(port, b"three") == b"cloud-1:three"
            # A program that writes the file has emptied it first.
            path.write_text("{")
            assert await ask(port, b"four") == b"cloud-1:four"
    causes = [vars(each)["cause"] for each in caplog.records if each.levelname == "WARNING"]
    assert causes == [
        "the API server refused the stream with status 401",
        f"cannot read {path}: it is not YAML",
    ]


async def test_cluster_that_is_created_again_is_used(tmp_path: Path) -> None:
    """Its pod has another name, and its API server another port."""
    path = tmp_path / "config"
    async with served(Cluster()) as first, served(Cluster(pods=["cloud-9"])) as second:
        write_kubeconfig(path, first, "one")
        async with KubeClient.from_kubeconfig(path) as client, forwarding(client) as port:
            assert await ask(port, b"one") == b"cloud-1:one"
            write_kubeconfig(path, second, "of the second")
            assert await ask(port, b"two") == b"cloud-9:two"


async def test_connection_waits_for_an_unavailable_api_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "podpass")
    cluster = Cluster()
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    target = Target(server=f"http://127.0.0.1:{address[1]}")
    async with KubeClient(target) as client, forwarding(client) as port:
        async with served(cluster, sock):
            assert await ask(port, b"end") == b"cloud-1:end"
        waiting = asyncio.create_task(ask(port, b"end"))
        while not any(each.message == "forward_retried" for each in caplog.records):  # noqa: ASYNC110 a log
            await asyncio.sleep(0)
        async with served(cluster, socket.create_server(address)):
            assert await waiting == b"cloud-1:end"


async def test_answered_connection_ends_with_the_pod() -> None:
    cluster = Cluster()
    async with forwarded(cluster) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for text in (b"one", b"end"):
            writer.write(text)
            assert await reader.read(100) == b"cloud-1:" + text
        assert await reader.read(100) == b""
        writer.close()
    assert cluster.opened == ["cloud-1"]


async def test_connections_are_limited(caplog: pytest.LogCaptureFixture) -> None:
    """Any program of this machine can open them, and each is one to the API server."""
    caplog.set_level("INFO", "podpass")
    cluster = Cluster()
    async with forwarded(cluster, max_connections=1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"one")
        assert await reader.read(100) == b"cloud-1:one"
        with contextlib.suppress(ConnectionError):
            assert await ask(port, b"two") == b""
        writer.write(b"end")
        assert await reader.read(100) == b"cloud-1:end"
        assert await reader.read(100) == b""
        writer.close()
        assert await ask(port, b"three") == b"cloud-1:three"
    [cause, *_] = [vars(each)["cause"] for each in caplog.records if "cause" in vars(each)]
    assert cause == "1 connections are open"


async def test_long_data_before_the_first_answer_is_not_sent_to_the_next_pod() -> None:
    """It would be incomplete: what is sent again is limited."""
    cluster = Cluster(ended={"cloud-1"}, replaced_by="cloud-2")
    async with forwarded(cluster) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                writer.write(bytes(64 * 1024))
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert await reader.read(100) == b""
        writer.close()
    assert cluster.opened == ["cloud-1"]


async def test_waiting_connections_end_together_when_the_api_server_is_slow() -> None:
    """Fails without the check: each connection waits for the searches of all before it."""
    cluster = Cluster(pods=[], list_seconds=0.3)
    async with forwarded(cluster, wait_seconds=0.2) as port:
        answers = await asyncio.gather(
            *(ask(port, b"hello") for _ in range(8)), return_exceptions=True
        )
    assert all(each == b"" or isinstance(each, ConnectionError) for each in answers)
    assert cluster.listed == 1


def test_names_of_storage_lead_to_the_cloud_only_if_it_serves_them() -> None:
    hosts = [f"orders.{each}.core.windows.net" for each in ("blob", "queue", "table")]
    served = build_routes(4443, ("blob", "queue", "table"))
    assert [gateway.route(served, host) for host in hosts] == [("127.0.0.1", 4443)] * 3
    other = build_routes(4443, ())
    assert [gateway.route(other, host) for host in hosts] == [None] * 3
    assert gateway.route(other, "login.microsoftonline.com") == ("127.0.0.1", 4443)


async def test_end_of_the_proxy_ends_open_connections_without_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    async with connected(Cluster()) as client:
        async with run_forwarder(client, "n", sock, clock=system):
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            writer.write(b"CONNECT login.microsoftonline.com:443 HTTP/1.1\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            writer.write(b"one")
            assert await reader.read(100) == b"cloud-1:one"
        running = [repr(each.get_coro()) for each in asyncio.all_tasks()]
        assert not [each for each in running if "CloudForwarder" in each]
        assert await reader.read(100) == b""
        writer.close()
    assert not [each for each in caplog.records if each.name == "asyncio"]
