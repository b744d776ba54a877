"""Clients that read slowly or not at all, over real sockets."""

import asyncio
import contextlib
import errno
import gc
import socket
import ssl
import time
import weakref
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trustme
import uvloop

from podpass.http import server
from podpass.http.connection import Connection
from podpass.http.server import Limits, Receive, RunningServer, Scope, Send
from podpass.http.upgrade import offered_upgrade

pytestmark = pytest.mark.processes

BODY = b"x" * 4_000_000
UPGRADE = b"Connection: Upgrade\r\nUpgrade: raw\r\n"
STALLED = Limits(write_seconds=0.5)
Trust = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


@pytest.fixture(scope="module", params=["plain", "tls"])
def trust(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trust:
    """Provide the TLS contexts of a server and its clients, or none."""
    if request.param == "plain":
        return None, None
    ca, path = trustme.CA(), tmp_path_factory.mktemp("tls") / "leaf.pem"
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    return server.server_tls(str(path), str(path)), client


class App:
    """Answers with a long body, small bodies, a stream, or another protocol that never ends."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.started = self.ended = 0

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        self.started += 1
        try:
            await self._answer(scope, send)
        finally:
            self.ended += 1

    async def wait_answers(self, count: int) -> None:
        """Wait until this number of requests has ended."""
        while self.ended < count:  # noqa: ASYNC110 an event would have to be created for each
            await asyncio.sleep(0.001)

    async def _answer(self, scope: Scope, send: Send) -> None:
        if (upgrade := offered_upgrade(scope)) is not None:
            async with upgrade.accept(((b"upgrade", b"raw"),)) as stream:
                await self.go_on.wait()
                with contextlib.suppress(OSError):
                    while not stream.writer.transport.is_closing():
                        stream.writer.write(BODY[:65536])
                        await stream.writer.drain()
        elif scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await self.go_on.wait()
            for _ in range(100):
                await send({"type": "http.response.body", "body": BODY[:65536], "more_body": True})
            await send({"type": "http.response.body", "body": b"last"})
        else:
            await server.respond(send, 200, BODY if scope["path"] == "/long" else BODY[:20_000])


@contextlib.asynccontextmanager
async def _running(
    app: server.App, trust: Trust, limits: Limits = STALLED
) -> AsyncIterator[tuple[RunningServer, socket.socket]]:
    """Run a server, and connect a client with a small receive buffer."""
    sock = server.bind("127.0.0.1", 0)

    def connect() -> socket.socket:
        made = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        made.settimeout(60)
        made.connect(sock.getsockname())
        context = trust[1]
        return made if context is None else context.wrap_socket(made, server_hostname="localhost")

    async with server.serving(app, sock, trust[0], limits=limits) as running:
        with await asyncio.to_thread(connect) as client:
            yield running, client


async def _wait_until_disconnected(running: RunningServer, at_least: int = 0) -> None:
    async with asyncio.timeout(60):
        while running.connections < at_least:  # noqa: ASYNC110 a handshake sets no event
            await asyncio.sleep(0.01)
        while running.connections:  # noqa: ASYNC110 a lost connection sets no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("path", "header", "count"),
    [
        (b"/long", b"", 1),
        (b"/long", b"Connection: close\r\n", 1),
        (b"/stream", b"", 1),
        (b"/", UPGRADE, 1),
        # Small responses fill the buffers too, if there are many.
        (b"/small", b"", 200),
    ],
)
async def test_client_that_does_not_read_is_disconnected(
    trust: Trust, path: bytes, header: bytes, count: int
) -> None:
    """The attack: requests whose responses are never read keep connections and memory forever."""
    app = App()
    app.go_on.set()
    request = b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n" % (path, header)
    async with _running(app, trust) as (running, client):
        with contextlib.suppress(OSError):
            for number in range(1, count + 1):
                await asyncio.to_thread(client.sendall, request)
                async with asyncio.timeout(0.05):
                    await app.wait_answers(number)
        await _wait_until_disconnected(running)
        async with asyncio.timeout(60):
            await app.wait_answers(app.started)


async def test_client_with_a_slow_handshake_is_disconnected_too(trust: Trust) -> None:
    """Fails if the checks end while the only connection is still in its handshake."""
    if trust[1] is None:
        return
    sock = server.bind("127.0.0.1", 0)
    async with server.serving(App(), sock, trust[0], limits=STALLED) as running:
        with await asyncio.to_thread(socket.create_connection, sock.getsockname()) as plain:
            await asyncio.sleep(2 * STALLED.write_seconds)
            wrapped = await asyncio.to_thread(
                trust[1].wrap_socket, plain, server_hostname="localhost"
            )
            with wrapped as client:
                request = b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n"
                await asyncio.to_thread(client.sendall, request)
                await _wait_until_disconnected(running, at_least=1)


async def test_kernel_keeps_no_data_of_a_disconnected_client(trust: Trust) -> None:
    """The attack: each such client would occupy the kernel's memory for minutes, without a connection."""
    async with _running(App(), trust) as (running, client):
        await asyncio.to_thread(client.sendall, b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        await _wait_until_disconnected(running)
        found = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert errno.errorcode.get(found) == "ECONNRESET"


@pytest.mark.parametrize("header", [b"", UPGRADE])
async def test_idle_stream_and_idle_upgraded_connection_stay_open(
    trust: Trust, header: bytes
) -> None:
    """A watch without events writes nothing, so its client has nothing to read."""
    app = App()
    async with _running(app, trust) as (running, client):
        request = b"GET /stream HTTP/1.1\r\nHost: x\r\n%b\r\n" % header
        await asyncio.to_thread(client.sendall, request)
        assert b"HTTP/1.1" in await asyncio.to_thread(client.recv, 65536)
        await asyncio.sleep(6 * STALLED.write_seconds)
        assert running.connections == 1
        app.go_on.set()
        received = 0
        while received < 1_000_000:
            received += len(await asyncio.to_thread(client.recv, 65536))


def test_slow_download_that_makes_progress_is_complete(trust: Trust) -> None:
    """Fails if the limit is one on the whole response, or if TLS ends before the client has everything."""
    limits = Limits(write_seconds=3.0)

    def read(client: socket.socket, header: bytes) -> int:
        client.sendall(b"GET /long HTTP/1.1\r\nHost: x\r\n%b\r\n" % header)
        received = 0
        while received < len(BODY) and (part := client.recv(32 * 1024)):
            received += len(part)
            time.sleep(0.03)
        return received

    async def download(header: bytes) -> int:
        async with _running(App(), trust, replace(limits, keep_alive_seconds=1)) as (_, client):
            return await asyncio.to_thread(read, client, header)

    async def run() -> tuple[int, int]:
        return await asyncio.gather(download(b""), download(b"Connection: close\r\n"))

    began = time.monotonic()
    # The loop of the servers, whose TLS differs from asyncio's.
    assert min(uvloop.run(run())) >= len(BODY)
    assert time.monotonic() - began > limits.write_seconds


@pytest.mark.parametrize(
    ("buffer", "part", "count", "limits"),
    [
        # Its kernel announces no space until a 16th is free.
        (1024 * 1024, 16 * 1024, 20, STALLED),
        # What has arrived gives it no time to speak of: only its progress does.
        (4096, 2048, 24, Limits(write_seconds=3.0)),
    ],
    ids=["large buffer", "small buffer"],
)
async def test_client_that_reads_slowly_stays_connected(
    buffer: int, part: int, count: int, limits: Limits
) -> None:
    """Fails if a client is cut while it reads."""
    app = App()
    app.go_on.set()
    request = b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n" % UPGRADE

    async with _running(app, (None, None), limits) as (running, other):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            client.connect(other.getpeername())
            client.sendall(request)
            for _ in range(count):
                await asyncio.sleep(0.25)
                assert client.recv(part)
            assert running.connections == 2


async def test_lost_connection_is_not_kept_until_a_garbage_collection(trust: Trust) -> None:
    """Fails if objects refer to each other: each lost connection would keep the buffers of its TLS."""
    made, started = list[weakref.ref[Connection]](), asyncio.Event()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        made.extend(weakref.ref(each) for each in gc.get_objects() if isinstance(each, Connection))
        started.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    gc.collect()
    gc.disable()
    try:
        async with _running(app, trust) as (running, client):
            request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
            await asyncio.to_thread(client.sendall, request * 3)
            await started.wait()
            client.close()
            await _wait_until_disconnected(running)
            async with asyncio.timeout(30):
                while running.in_flight:  # noqa: ASYNC110 the end of a task sets no event
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)
            assert made
            assert [each() for each in made] == [None] * len(made)
    finally:
        gc.enable()
