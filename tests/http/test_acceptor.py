"""The acceptor: connection filters, the connection limit, and connections in the queue during a stop."""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.http import acceptor
from podpass.http import server as serve

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"


async def _app(_scope: serve.Scope, _receive: serve.Receive, send: serve.Send) -> None:
    await serve.respond(send, 200, b"{}")


@dataclass
class RecordingFilter:
    """A connection filter that counts calls, and blocks configured addresses."""

    blocked: set[str] = field(default_factory=set)
    checks: int = 0
    dropped: int = 0
    unused: Counter[str] = field(default_factory=Counter)

    def allow_connection(self, source: str) -> bool:
        self.checks += 1
        return source not in self.blocked

    def allow_request(self, source: str) -> bool:
        return source not in self.blocked

    def on_dropped(self) -> None:
        self.dropped += 1

    def on_unused(self, source: str) -> None:
        self.unused[source] += 1


class TlsClient:
    """A TLS client whose last handshake message the test sends separately."""

    def __init__(self, ca: trustme.CA) -> None:
        trust = ssl.create_default_context()
        ca.configure_trust(trust)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    @property
    def is_done(self) -> bool:
        return self._tls.version() is not None and bool(self._outgoing.pending)

    def client_hello(self) -> bytes:
        self.receive(b"")
        return self._outgoing.read()

    def receive(self, more: bytes) -> None:
        self._incoming.write(more)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()

    def pending(self) -> bytes:
        return self._outgoing.read()

    def finish_and_send(self, request: bytes) -> bytes:
        self._tls.write(request)
        return self.pending()

    def read(self) -> bytes:
        answer = b""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            while more := self._tls.read(65536):
                answer += more
        return answer


@pytest.fixture(scope="module")
def leaf(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    ca, path = trustme.CA(), tmp_path_factory.mktemp("tls") / "leaf.pem"
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return ca, path


async def _is_closed(reader: asyncio.StreamReader) -> bool:
    """Wait until the server closes the connection; return whether it sent nothing."""
    try:
        async with asyncio.timeout(30):
            return await reader.read() == b""
    except ConnectionError:
        return True


async def test_blocked_address_is_closed_before_tls() -> None:
    filter_ = RecordingFilter(blocked={"127.0.0.1"})
    sock = serve.bind("127.0.0.1", 0)
    context = ssl.SSLContext(
        ssl.PROTOCOL_TLS_SERVER
    )  # without a certificate: no handshake could end
    async with serve.serving(_app, sock, context, connection_filter=filter_):
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            assert await _is_closed(reader)
            writer.close()
    assert filter_.checks == 1


async def test_open_connection_is_closed_when_its_address_is_blocked() -> None:
    """No byte of its request is read; otherwise a flood could continue on open connections."""
    filter_, asked = RecordingFilter(), list[str]()

    async def app(scope: serve.Scope, receive: serve.Receive, send: serve.Send) -> None:
        asked.append(scope["path"])
        await _app(scope, receive, send)

    sock = serve.bind("127.0.0.1", 0)
    async with serve.serving(app, sock, connection_filter=filter_):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        for _ in range(2):
            writer.write(REQUEST)
            await reader.readuntil(b"{}")
        filter_.blocked.add("127.64.0.2")
        writer.write(REQUEST)
        await reader.readuntil(b"{}")
        filter_.blocked.add("127.0.0.1")
        writer.write(REQUEST)
        assert await _is_closed(reader)
        writer.close()
        await asyncio.sleep(0.05)
    assert len(asked) == 3


async def test_filter_is_called_for_each_connection_without_a_request(
    leaf: tuple[trustme.CA, Path],
) -> None:
    ca, path = leaf
    filter_, trust = RecordingFilter(), ssl.create_default_context()
    ca.configure_trust(trust)
    sock = serve.bind("127.0.0.1", 0)
    address = sock.getsockname()
    async with serve.serving(
        _app, sock, serve.server_tls(str(path), str(path)), connection_filter=filter_
    ) as server:
        # A silent connection, one that does not speak TLS, and one that is served.
        _, silent = await asyncio.open_connection(*address)
        other_reader, other = await asyncio.open_connection(*address)
        other.write(REQUEST)
        assert await _is_closed(other_reader)
        reader, good = await asyncio.open_connection(
            *address, ssl=trust, server_hostname="localhost"
        )
        good.write(REQUEST)
        await reader.readuntil(b"{}")
        assert (server.connections, server.in_flight) == (1, 0)
        silent.close()
        good.close()
        other.close()
        for _ in range(500):
            if filter_.unused["127.0.0.1"] == 2 and not server.connections:
                break
            await asyncio.sleep(0.01)
    assert filter_.unused["127.0.0.1"] == 2


async def test_connection_without_complete_request_is_reported_as_unused(
    leaf: tuple[trustme.CA, Path],
) -> None:
    """The attack: thousands of handshakes, each as expensive as an exchange, without a refused request."""
    ca, path = leaf
    filter_, trust = RecordingFilter(), ssl.create_default_context()
    ca.configure_trust(trust)
    sock = serve.bind("127.0.0.1", 0)
    tls = serve.server_tls(str(path), str(path))
    async with serve.serving(_app, sock, tls, connection_filter=filter_) as server:
        for sent, expected in ((b"", 1), (REQUEST[:-2], 2), (REQUEST, 2)):
            reader, writer = await asyncio.open_connection(
                *sock.getsockname(), ssl=trust, server_hostname="localhost"
            )
            writer.write(sent)
            if sent == REQUEST:
                await reader.readuntil(b"{}")
            writer.close()
            await reader.read()
            for _ in range(500):
                if filter_.unused["127.0.0.1"] == expected and not server.connections:
                    break
                await asyncio.sleep(0.01)
            assert filter_.unused["127.0.0.1"] == expected


@pytest.mark.parametrize("is_proxy", [False, True])
async def test_address_gets_its_share_of_connections(is_proxy: bool) -> None:
    """The attack: one address takes all connections. A proxy is exempt: many clients are behind it."""
    filter_, sock = RecordingFilter(), serve.bind("127.0.0.1", 0)
    limits = serve.Limits(source_connections=2)
    proxies = (ip_network("127.64.0.2/32"),) if is_proxy else ()

    def connect(source: str) -> socket.socket | None:
        """Connect and send a request; return the open connection if it gets a response."""
        try:
            made = socket.create_connection(sock.getsockname(), 30, source_address=(source, 0))
            stack.callback(made.close)
            made.sendall(REQUEST)
            return made if made.recv(4096) else None
        except ConnectionError:
            return None

    async def is_served(source: str) -> socket.socket | None:
        return await asyncio.to_thread(connect, source)

    with contextlib.ExitStack() as stack:
        async with serve.serving(
            _app, sock, limits=limits, connection_filter=filter_, proxies=proxies
        ) as server:
            first, second, third = [await is_served("127.64.0.2") for _ in range(3)]
            assert first
            assert second
            assert bool(third) == is_proxy
            assert filter_.dropped == (0 if is_proxy else 1)
            assert await is_served("127.64.0.3")
            opened = server.connections
            first.close()
            async with asyncio.timeout(30):
                while server.connections == opened:  # noqa: ASYNC110 a lost connection sets no event
                    await asyncio.sleep(0.01)
            assert await is_served("127.64.0.2")


async def test_handshakes_count_against_connection_limit(leaf: tuple[trustme.CA, Path]) -> None:
    """A silent connection costs its sender nothing, and would count against the limit until its timeout."""
    _, path = leaf
    sock = serve.bind("127.0.0.1", 0)
    tls = serve.server_tls(str(path), str(path))
    async with serve.serving(_app, sock, tls, limits=serve.Limits(connections=2)):
        pending = [await asyncio.open_connection(*sock.getsockname()) for _ in range(2)]
        await asyncio.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            # At once, and not when its handshake takes too long.
            async with asyncio.timeout(acceptor.HANDSHAKE_SECONDS / 2):
                assert await _is_closed(reader)
            writer.close()
        for _, writer in pending:
            writer.close()


async def test_connection_without_handshake_is_closed_in_time(
    leaf: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "HANDSHAKE_SECONDS", 0.1)
    _, path = leaf
    sock = serve.bind("127.0.0.1", 0)
    tls = serve.server_tls(str(path), str(path))
    async with serve.serving(_app, sock, tls):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        # asyncio's own limit is 60 s.
        async with asyncio.timeout(10):
            assert await _is_closed(reader)
        writer.close()


async def test_connections_in_kernel_queue_are_served_during_stop() -> None:
    """Closing the socket would reset connections in the kernel's queue."""
    sock = serve.bind("127.0.0.1", 0)
    address = sock.getsockname()
    loop = asyncio.get_running_loop()
    clients = []
    async with serve.serving(_app, sock, drain=serve.Drain(keepalive_seconds=60)):
        for _ in range(5):
            client = socket.create_connection(address)
            client.sendall(REQUEST)
            clients.append(client)
        # No event-loop iteration has run since, so all connections are in the kernel's queue.
    for client in clients:
        client.settimeout(5)
        answer = await loop.run_in_executor(None, client.recv, 4096)
        assert b"200 OK" in answer
        assert b"connection: close" in answer
        client.close()


async def test_keep_alive_connection_gets_connection_close_during_drain() -> None:
    sock = serve.bind("127.0.0.1", 0)
    address = sock.getsockname()
    stop = asyncio.Event()

    async def run() -> None:
        async with serve.serving(
            _app, sock, drain=serve.Drain(keepalive_seconds=60, grace_seconds=60)
        ):
            await stop.wait()

    running = asyncio.create_task(run())
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(REQUEST)
    assert b"connection: close" not in await reader.readuntil(b"{}")
    stop.set()
    await asyncio.sleep(0.1)
    writer.write(REQUEST)
    async with asyncio.timeout(30):
        assert b"connection: close" in await reader.readuntil(b"{}")
        assert await reader.read() == b""
        writer.close()
        # No connection is left, so the drain ends before its time.
        await running


class FastPathApp:
    """An application whose fast path returns another response."""

    async def __call__(self, scope: serve.Scope, receive: serve.Receive, send: serve.Send) -> None:
        await _app(scope, receive, send)

    def fast_path(self, _scope: serve.Scope, _body: bytes) -> Coroutine[Any, Any, serve.Reply]:
        async def reply() -> serve.Reply:
            return serve.Reply(200, (), b"fast path")

        return reply()


@dataclass
class PendingHandshake:
    """A client that has not sent its last handshake message when the server stops."""

    running: asyncio.Task[None]
    client: TlsClient
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@asynccontextmanager
async def _pending_handshake(
    app: serve.App, leaf: tuple[trustme.CA, Path], drain: serve.Drain
) -> AsyncIterator[PendingHandshake]:
    ca, path = leaf
    sock = serve.bind("127.0.0.1", 0)
    stop = asyncio.Event()

    async def run() -> None:
        async with serve.serving(app, sock, serve.server_tls(str(path), str(path)), drain=drain):
            await stop.wait()

    running, client = asyncio.create_task(run()), TlsClient(ca)
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(client.client_hello())
    while not client.is_done:
        client.receive(await reader.read(65536))
    stop.set()
    await asyncio.sleep(0.2)
    yield PendingHandshake(running, client, reader, writer)
    writer.close()
    await running


@pytest.mark.parametrize("request_", [REQUEST, POST])
async def test_stop_waits_for_handshake_in_progress(
    leaf: tuple[trustme.CA, Path], request_: bytes
) -> None:
    """Fails if only complete handshakes are drained: the first request would be lost."""
    async with _pending_handshake(
        FastPathApp(), leaf, serve.Drain(keepalive_seconds=60, grace_seconds=0.01)
    ) as pending:
        assert not pending.running.done()
        pending.writer.write(pending.client.finish_and_send(request_))
        async with asyncio.timeout(20):
            pending.client.receive(await pending.reader.read())
            await pending.running
        answer = pending.client.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


@pytest.mark.parametrize("keepalive", [0.0, 0.1])
@pytest.mark.parametrize("when", ["never", "during the stop"])
async def test_no_request_is_answered_after_stop(
    leaf: tuple[trustme.CA, Path], keepalive: float, when: str
) -> None:
    """Fails if a handshake outlives the stop: the resources of the application may be closed by then."""
    async with _pending_handshake(
        _app, leaf, serve.Drain(keepalive_seconds=keepalive, grace_seconds=0.5)
    ) as pending:
        with contextlib.suppress(ConnectionError):
            if when != "never":
                pending.writer.write(pending.client.pending())
            await pending.running
            pending.writer.write(pending.client.finish_and_send(REQUEST))
            async with asyncio.timeout(30):
                pending.client.receive(await pending.reader.read())
        assert pending.client.read() == b""


async def test_request_in_flight_has_grace_period_after_keepalive_period() -> None:
    sock = serve.bind("127.0.0.1", 0)
    asked, may_answer, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(scope: serve.Scope, receive: serve.Receive, send: serve.Send) -> None:
        asked.set()
        await may_answer.wait()
        await _app(scope, receive, send)

    async def run() -> None:
        async with serve.serving(
            app, sock, drain=serve.Drain(keepalive_seconds=0.1, grace_seconds=60)
        ):
            await stop.wait()

    running = asyncio.create_task(run())
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(REQUEST)
    await asked.wait()
    stop.set()
    # The keepalive period is over: only the grace period keeps the request alive.
    await asyncio.sleep(0.5)
    may_answer.set()
    async with asyncio.timeout(30):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        await running
    writer.close()


async def test_stop_does_not_wait_for_missing_close_notify(leaf: tuple[trustme.CA, Path]) -> None:
    """Connection pools keep connections without reading them; TLS waits for their close_notify."""
    ca, path = leaf
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    sock = serve.bind("127.0.0.1", 0)
    loop = asyncio.get_running_loop()

    def connect() -> ssl.SSLSocket:
        plain = socket.create_connection(sock.getsockname(), timeout=5)
        kept = trust.wrap_socket(plain, server_hostname="localhost")
        kept.sendall(REQUEST)
        assert b"200 OK" in kept.recv(4096)
        return kept

    drain = serve.Drain(keepalive_seconds=0.1, grace_seconds=20)
    async with serve.serving(_app, sock, serve.server_tls(str(path), str(path)), drain=drain):
        kept = await loop.run_in_executor(None, connect)
        began = loop.time()
    assert loop.time() - began < 10
    kept.close()


def _count_descriptors() -> int:
    """Return the number of open descriptors; 0 where the system does not list them."""
    files = Path("/proc/self/fd")
    return len(list(files.iterdir())) if files.exists() else 0


async def test_failed_handshakes_leak_no_file_descriptor(leaf: tuple[trustme.CA, Path]) -> None:
    """If a socket is closed before its transport, the next socket gets its file descriptor, and hangs."""
    ca, path = leaf
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    sock = serve.bind("127.0.0.1", 0)
    async with serve.serving(_app, sock, serve.server_tls(str(path), str(path))):
        before = _count_descriptors()
        for text in (REQUEST, b"\x16\x03\x01\x00\x05junk!", b"\x00" * 600, b""):
            for _ in range(10):
                _, writer = await asyncio.open_connection(*sock.getsockname())
                writer.write(text)
                good_reader, good = await asyncio.open_connection(
                    *sock.getsockname(), ssl=trust, server_hostname="localhost"
                )
                good.write(REQUEST)
                async with asyncio.timeout(30):
                    assert b"200 OK" in await good_reader.readuntil(b"{}")
                good.close()
                writer.close()
        # Each of the 40 failed handshakes would leak one. A few belong to connections that are ending.
        async with asyncio.timeout(30):
            while _count_descriptors() >= before + 20:  # noqa: ASYNC110 the kernel sets no event
                await asyncio.sleep(0.01)
