"""Accepting: whom a door turns away, what a full server does, and that a stop loses nobody in the queue."""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from podpass.http import server as serve

REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"


async def _app(_scope: serve.Scope, _receive: serve.Receive, send: serve.Send) -> None:
    await serve.respond(send, 200, b"{}")


@dataclass
class Watch:
    """A door that counts, and turns away whom it is told to."""

    closed_to: set[str] = field(default_factory=set)
    inside: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    for_nothing: Counter[str] = field(default_factory=Counter)

    def accepts(self, source: str) -> bool:
        self.asked += 1
        return source not in self.closed_to

    def hears(self, source: str) -> bool:
        return source not in self.closed_to

    def opened(self, source: str) -> None:
        self.inside[source] += 1

    def closed(self, source: str) -> None:
        self.inside[source] -= 1

    def wasted(self, source: str) -> None:
        self.for_nothing[source] += 1


class Client:
    """A client of TLS that holds back the last word of its handshake until it is told to say it."""

    def __init__(self, ca: trustme.CA) -> None:
        trust = ssl.create_default_context()
        ca.configure_trust(trust)
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trust.wrap_bio(self._came, self._goes, server_hostname="localhost")

    @property
    def is_done(self) -> bool:
        return self._tls.version() is not None and bool(self._goes.pending)

    def hello(self) -> bytes:
        self.heard(b"")
        return self._goes.read()

    def heard(self, more: bytes) -> None:
        self._came.write(more)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()

    def said(self) -> bytes:
        return self._goes.read()

    def ends_and_asks(self, request: bytes) -> bytes:
        self._tls.write(request)
        return self.said()

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


async def _ends(reader: asyncio.StreamReader) -> bool:
    """Tell whether the other side hangs up, without a byte."""
    try:
        async with asyncio.timeout(5):
            return await reader.read() == b""
    except ConnectionError:
        return True


async def test_an_address_is_turned_away_before_tls() -> None:
    door = Watch(closed_to={"127.0.0.1"})
    sock = serve.bind("127.0.0.1", 0)
    context = ssl.SSLContext(
        ssl.PROTOCOL_TLS_SERVER
    )  # without a certificate: no handshake could end
    async with serve.serving(_app, sock, context, door=door):
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            assert await _ends(reader)
            writer.close()
    assert door.asked == 1
    assert door.inside["127.0.0.1"] == 0


async def test_a_kept_connection_ends_when_its_address_is_shut_out() -> None:
    """Before a byte of its request is read; a flood would go on for ever over what it keeps."""
    door, asked = Watch(), list[str]()

    async def app(scope: serve.Scope, receive: serve.Receive, send: serve.Send) -> None:
        asked.append(scope["path"])
        await _app(scope, receive, send)

    sock = serve.bind("127.0.0.1", 0)
    async with serve.serving(app, sock, door=door):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        for _ in range(2):
            writer.write(REQUEST)
            await reader.readuntil(b"{}")
        door.closed_to.add("127.0.0.2")
        writer.write(REQUEST)
        await reader.readuntil(b"{}")
        door.closed_to.add("127.0.0.1")
        writer.write(REQUEST)
        assert await _ends(reader)
        writer.close()
        await asyncio.sleep(0.05)
    assert len(asked) == 3
    assert door.inside["127.0.0.1"] == 0


async def test_the_door_is_told_of_every_beginning_and_end(leaf: tuple[trustme.CA, Path]) -> None:
    ca, path = leaf
    door, trust = Watch(), ssl.create_default_context()
    ca.configure_trust(trust)
    sock = serve.bind("127.0.0.1", 0)
    address = sock.getsockname()
    async with serve.serving(
        _app, sock, serve.server_tls(str(path), str(path)), door=door
    ) as server:
        # One that never speaks TLS, one that speaks something else, one that is served.
        _, silent = await asyncio.open_connection(*address)
        other_reader, other = await asyncio.open_connection(*address)
        other.write(REQUEST)
        assert await _ends(other_reader)
        reader, good = await asyncio.open_connection(
            *address, ssl=trust, server_hostname="localhost"
        )
        good.write(REQUEST)
        await reader.readuntil(b"{}")
        assert (server.connections, server.under_way) == (1, 0)
        assert door.inside["127.0.0.1"] == 2
        silent.close()
        good.close()
        other.close()
        for _ in range(500):
            if not door.inside["127.0.0.1"]:
                break
            await asyncio.sleep(0.01)
        assert door.inside["127.0.0.1"] == 0
        assert door.for_nothing["127.0.0.1"] == 2


async def test_a_connection_is_for_nothing_until_a_whole_request_came(
    leaf: tuple[trustme.CA, Path],
) -> None:
    """The attack: handshakes by the thousand, each as dear as an exchange, and not one refused request."""
    ca, path = leaf
    door, trust = Watch(), ssl.create_default_context()
    ca.configure_trust(trust)
    sock = serve.bind("127.0.0.1", 0)
    tls = serve.server_tls(str(path), str(path))
    async with serve.serving(_app, sock, tls, door=door):
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
                if not door.inside["127.0.0.1"]:
                    break
                await asyncio.sleep(0.01)
            assert door.for_nothing["127.0.0.1"] == expected


async def test_those_in_a_handshake_count_against_the_cap(leaf: tuple[trustme.CA, Path]) -> None:
    """A connection that never says a word costs its sender nothing, and would hold a place for ever."""
    _, path = leaf
    sock = serve.bind("127.0.0.1", 0)
    tls = serve.server_tls(str(path), str(path))
    async with serve.serving(_app, sock, tls, limits=serve.Limits(connections=2)):
        held = [await asyncio.open_connection(*sock.getsockname()) for _ in range(2)]
        await asyncio.sleep(0.05)
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection(*sock.getsockname())
            assert await _ends(reader)
            writer.close()
        for _, writer in held:
            writer.close()


async def test_who_waits_in_the_queue_is_served_when_it_stops() -> None:
    """Closing the socket would reset connections that the kernel has accepted for us."""
    sock = serve.bind("127.0.0.1", 0)
    address = sock.getsockname()
    loop = asyncio.get_running_loop()
    clients = []
    async with serve.serving(_app, sock, drain=serve.Drain(linger=0.5)):
        for _ in range(5):
            client = socket.create_connection(address)
            client.sendall(REQUEST)
            clients.append(client)
        # Not once has the loop turned since: all of them wait in the kernel.
    for client in clients:
        client.settimeout(5)
        answer = await loop.run_in_executor(None, client.recv, 4096)
        assert b"200 OK" in answer
        assert b"connection: close" in answer
        client.close()


async def test_kept_connections_are_told_of_the_end_with_their_last_answer() -> None:
    sock = serve.bind("127.0.0.1", 0)
    address = sock.getsockname()
    stop = asyncio.Event()

    async def live() -> None:
        async with serve.serving(_app, sock, drain=serve.Drain(linger=5, patience=1)):
            await stop.wait()

    living = asyncio.create_task(live())
    await asyncio.sleep(0.05)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(REQUEST)
    assert b"connection: close" not in await reader.readuntil(b"{}")
    stop.set()
    await asyncio.sleep(0.1)
    writer.write(REQUEST)
    async with asyncio.timeout(4):
        assert b"connection: close" in await reader.readuntil(b"{}")
        assert await reader.read() == b""
        writer.close()
        # Nobody is left to wait for.
        await living


class Quick:
    """An application with the second door, which says that it was taken."""

    async def __call__(self, scope: serve.Scope, receive: serve.Receive, send: serve.Send) -> None:
        await _app(scope, receive, send)

    def quick(self, _scope: serve.Scope, _body: bytes) -> Coroutine[Any, Any, serve.Reply]:
        async def reply() -> serve.Reply:
            return serve.Reply(200, (), b"quick")

        return reply()


@dataclass
class Held:
    """A client whose last word of the handshake is held back while the server stops."""

    living: asyncio.Task[None]
    client: Client
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@asynccontextmanager
async def _held(
    app: serve.App, leaf: tuple[trustme.CA, Path], drain: serve.Drain
) -> AsyncIterator[Held]:
    ca, path = leaf
    sock = serve.bind("127.0.0.1", 0)
    stop = asyncio.Event()

    async def live() -> None:
        async with serve.serving(app, sock, serve.server_tls(str(path), str(path)), drain=drain):
            await stop.wait()

    living, client = asyncio.create_task(live()), Client(ca)
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(client.hello())
    while not client.is_done:
        client.heard(await reader.read(65536))
    stop.set()
    await asyncio.sleep(0.2)
    yield Held(living, client, reader, writer)
    writer.close()
    await living


@pytest.mark.parametrize("request_", [REQUEST, POST])
async def test_a_handshake_under_way_when_a_stop_begins_is_waited_for(
    leaf: tuple[trustme.CA, Path], request_: bytes
) -> None:
    """Fails when only those that have ended one are seen off: its first request would meet a closed door."""
    async with _held(Quick(), leaf, serve.Drain(linger=60, patience=0.01)) as held:
        assert not held.living.done()
        held.writer.write(held.client.ends_and_asks(request_))
        async with asyncio.timeout(20):
            held.client.heard(await held.reader.read())
            await held.living
        answer = held.client.read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer


@pytest.mark.parametrize("linger", [0.0, 0.1])
@pytest.mark.parametrize("when", ["never", "in the midst of it"])
async def test_nobody_is_answered_after_a_stop(
    leaf: tuple[trustme.CA, Path], linger: float, when: str
) -> None:
    """Fails when a handshake, or who ended it late, outlives the stop: all else may be closed by then."""
    async with _held(_app, leaf, serve.Drain(linger=linger, patience=0.5)) as held:
        with contextlib.suppress(ConnectionError):
            if when != "never":
                held.writer.write(held.client.said())
            await held.living
            held.writer.write(held.client.ends_and_asks(REQUEST))
            async with asyncio.timeout(5):
                held.client.heard(await held.reader.read())
        assert held.client.read() == b""


async def test_an_answer_under_way_has_the_patience_of_a_stop_after_its_lingering() -> None:
    sock = serve.bind("127.0.0.1", 0)
    asked, may_answer, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(scope: serve.Scope, receive: serve.Receive, send: serve.Send) -> None:
        asked.set()
        await may_answer.wait()
        await _app(scope, receive, send)

    async def live() -> None:
        async with serve.serving(app, sock, drain=serve.Drain(linger=0.1, patience=20)):
            await stop.wait()

    living = asyncio.create_task(live())
    reader, writer = await asyncio.open_connection(*sock.getsockname())
    writer.write(REQUEST)
    await asked.wait()
    stop.set()
    # Past the lingering by far: only patience keeps it from being ended now.
    await asyncio.sleep(0.5)
    may_answer.set()
    async with asyncio.timeout(5):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        await living
    writer.close()


async def test_a_stop_does_not_wait_for_clients_that_never_say_goodbye(
    leaf: tuple[trustme.CA, Path],
) -> None:
    """Pools keep connections without reading them; TLS waits for the other side's close_notify."""
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

    drain = serve.Drain(linger=0.1, patience=20)
    async with serve.serving(_app, sock, serve.server_tls(str(path), str(path)), drain=drain):
        kept = await loop.run_in_executor(None, connect)
        began = loop.time()
    assert loop.time() - began < 10
    kept.close()


async def test_failed_handshakes_leave_no_file_open_and_harm_no_later_connection(
    leaf: tuple[trustme.CA, Path],
) -> None:
    """A socket closed under its transport gives its number to the next one, which then hangs."""
    ca, path = leaf
    trust = ssl.create_default_context()
    ca.configure_trust(trust)
    sock = serve.bind("127.0.0.1", 0)
    files = Path("/proc/self/fd")
    async with serve.serving(_app, sock, serve.server_tls(str(path), str(path))):
        for text in (REQUEST, b"\x16\x03\x01\x00\x05junk!", b"\x00" * 600, b""):
            for _ in range(10):
                _, writer = await asyncio.open_connection(*sock.getsockname())
                writer.write(text)
                good_reader, good = await asyncio.open_connection(
                    *sock.getsockname(), ssl=trust, server_hostname="localhost"
                )
                good.write(REQUEST)
                async with asyncio.timeout(5):
                    assert b"200 OK" in await good_reader.readuntil(b"{}")
                good.close()
                writer.close()
        if files.exists():
            await asyncio.sleep(0.1)
            assert len(list(files.iterdir())) < 60
