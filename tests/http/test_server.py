"""Limits on the time and size of requests, the stop of a server, and header functions."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from podpass.http import server
from podpass.http.server import Limits, Receive, Scope, Send
from tests.http.manual_loop import FakeClient

WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CLOSE = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
RESPONSE_SECONDS = 30.0
LIMITS = Limits(head_seconds=10, body_seconds=10, body_rate=0.2, head_bytes=4096)


async def _slow_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["method"] == "POST":
        await server.read_body(receive, 1024 * 1024)
    await asyncio.sleep(RESPONSE_SECONDS)
    await server.respond(send, 200, b"{}")


@pytest.fixture
def client() -> Iterator[FakeClient]:
    """Provide a client of a slow application, with a manual clock."""
    client = FakeClient(_slow_app, LIMITS)
    yield client
    client.close()


@pytest.mark.parametrize("head", [b"", b"GET", WHOLE[:-2]])
def test_connection_without_complete_head_is_closed_at_deadline(
    client: FakeClient, head: bytes
) -> None:
    """Slow heads cost an attacker nothing, and would use up the server's connections."""
    client.send(head, then=60)
    assert client.transport.written == b""
    assert client.transport.closed_at == LIMITS.head_seconds


def test_head_sent_byte_by_byte_does_not_extend_the_deadline(client: FakeClient) -> None:
    client.send(b"GET / HTTP/1.1\r\n", then=2)
    for _ in range(8):
        client.send(b"X", then=2)
    assert client.transport.written == b""
    assert client.transport.closed_at == LIMITS.head_seconds


def test_response_may_take_longer_than_a_head(client: FakeClient) -> None:
    client.send(CLOSE, then=60)
    assert client.transport.written.startswith(b"HTTP/1.1 200")
    assert client.transport.closed_at == RESPONSE_SECONDS


@pytest.mark.parametrize("second", [WHOLE[:-2], b"\r\n"])
def test_second_head_has_the_same_deadline_as_the_first(client: FakeClient, second: bytes) -> None:
    client.send(WHOLE, then=RESPONSE_SECONDS + 5)
    client.send(second, then=60)
    assert client.transport.written.count(b"HTTP/1.1 200") == 1
    assert client.transport.closed_at == RESPONSE_SECONDS + 5 + LIMITS.head_seconds


def test_incomplete_pipelined_head_does_not_abort_earlier_response(client: FakeClient) -> None:
    client.send(WHOLE + WHOLE[:-2], then=200)
    assert client.transport.written.count(b"HTTP/1.1 200") == 1
    assert client.transport.closed_at is not None


def test_head_over_limit_is_refused_before_it_ends(client: FakeClient) -> None:
    """Fails if headers of any length are buffered: one connection could use all memory."""
    client.send(b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 1000 + b"\r\n")
    for _ in range(4):
        client.send(b"Y: " + b"a" * 1000 + b"\r\n")
    assert b" 431 " in client.transport.written
    assert client.transport.closed_at == 0


def test_head_with_too_many_headers_is_refused_before_it_ends(client: FakeClient) -> None:
    """A header of four bytes needs 40 times its memory: such heads would use up a memory limit."""
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X:\r\n" * (LIMITS.head_fields - 1))
    assert client.transport.closed_at is None
    client.send(b"X:\r\n\r\n")
    assert b" 431 " in client.transport.written
    assert client.transport.closed_at == 0


def test_complete_head_over_limit_is_refused(client: FakeClient) -> None:
    client.send(b"GET / HTTP/1.1\r\nX: " + b"a" * 5000 + b"\r\n\r\n")
    assert b" 431 " in client.transport.written


def test_large_body_in_packet_of_its_head_is_not_counted_as_head(client: FakeClient) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9000\r\n\r\n"
    client.send(head + b"a" * 9000, then=60)
    assert b" 200 " in client.transport.written


def test_trailers_over_limit_close_the_connection(client: FakeClient) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    for _ in range(6):
        client.send(b"Y: " + b"a" * 1000 + b"\r\n")
    assert client.transport.written == b""
    assert client.transport.closed_at == 0


def test_complete_trailer_over_limit_closes_the_connection(client: FakeClient) -> None:
    """Fails if only incomplete trailers are counted: this one arrives with the end of its body."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    client.send(head + (b"Y: " + b"a" * 1000 + b"\r\n") * 6 + b"\r\n", then=60)
    assert client.transport.written == b""
    assert client.transport.closed_at == 0


def test_stalled_body_is_closed_and_continued_body_is_not(client: FakeClient) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8\r\n\r\n"
    client.send(head)
    for _ in range(8):
        client.send(b"a", then=4)
    client.send(b"", then=60)
    assert b" 200 " in client.transport.written
    stopped = FakeClient(_slow_app, LIMITS)
    stopped.send(head + b"aaaa", then=60)
    assert stopped.transport.written == b""
    assert stopped.transport.closed_at == LIMITS.body_seconds
    stopped.close()


def test_body_below_the_minimum_rate_is_closed(client: FakeClient) -> None:
    """A body has 10 s, and 5 s for each byte. A byte in 8 s would hold a connection for weeks."""
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    for _ in range(8):
        client.send(b"a", then=8)
    assert client.transport.written == b""
    assert client.transport.closed_at == 30


async def test_connections_over_limit_are_closed() -> None:
    sock = server.bind("127.0.0.1", 0)
    async with server.serving(_slow_app, sock, limits=Limits(connections=1)):
        _, first = await asyncio.open_connection(*sock.getsockname())
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):  # the reset may arrive during the connect
                reader, second = await asyncio.open_connection(*sock.getsockname())
                assert await reader.read() == b""
                second.close()
        first.close()


def test_connection_over_limit_is_aborted_before_it_is_read() -> None:
    client = FakeClient(_slow_app, Limits(connections=0))
    client.send(WHOLE, then=60)
    assert client.transport.written == b""
    assert client.transport.closed_at == 0
    client.close()


async def test_stop_of_idle_server_does_not_poll() -> None:
    """Fails if a stop sleeps: uvicorn's own takes 0.1 s, and tests start thousands of servers."""
    loop = asyncio.get_running_loop()
    seconds = []
    for _ in range(20):
        sock = server.bind("127.0.0.1", 0)
        async with server.serving(_slow_app, sock):
            began = loop.time()
        seconds.append(loop.time() - began)
    # The fastest of many, because the process may be paused.
    assert min(seconds) < 0.05


async def test_stop_returns_when_the_last_connection_ends() -> None:
    sock = server.bind("127.0.0.1", 0)
    stop, drain = asyncio.Event(), server.Drain(keepalive_seconds=3600, grace_seconds=3600)

    async def run() -> None:
        async with server.serving(_slow_app, sock, drain=drain):
            await stop.wait()

    running = asyncio.create_task(run())
    _, idle = await asyncio.open_connection(*sock.getsockname())
    stop.set()
    done, _ = await asyncio.wait((running,), timeout=0.2)
    assert not done
    idle.close()
    async with asyncio.timeout(30):
        await running


async def test_cancelled_stop_closes_all_connections() -> None:
    sock = server.bind("127.0.0.1", 0)
    stop, drain = asyncio.Event(), server.Drain(keepalive_seconds=3600)

    async def run() -> None:
        async with server.serving(_slow_app, sock, drain=drain):
            await stop.wait()

    running = asyncio.create_task(run())
    reader, idle = await asyncio.open_connection(*sock.getsockname())
    idle.write(WHOLE)
    stop.set()
    await asyncio.wait((running,), timeout=0.2)
    running.cancel()
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        with contextlib.suppress(asyncio.CancelledError):
            await running
    idle.close()


@pytest.mark.parametrize(
    ("given", "is_valid"),
    [
        ("a-B_9.z", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("a\r\nset-cookie: x", False),
        ("é", False),
        (None, False),
    ],
)
def test_only_valid_request_id_is_echoed(given: str | None, is_valid: bool) -> None:
    assert server.validate_request_id(given) == (given if is_valid else None)


def test_header_values_returns_all_values_of_a_header() -> None:
    headers = [(b"authorization", b"Bearer a"), (b"accept", b"x"), (b"authorization", b"\xe9")]
    scope: Scope = {"headers": headers}
    assert server.header_values(scope, b"authorization") == ["Bearer a", "é"]
    assert server.header_values(scope, b"cookie") == []
