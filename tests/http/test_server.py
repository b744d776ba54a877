"""The listener itself: clients that never finish asking."""

import asyncio
import contextlib

import pytest

from podpass.http import server
from podpass.http.server import Receive, Scope, Send

WHOLE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def _slow_app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["method"] == "POST":
        await server.read_body(receive, 1024 * 1024)
    await asyncio.sleep(0.3)
    await server.respond(send, 200, b"{}")


async def _ends(*parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts to a server with little patience; give what came until it hung up."""
    sock = server.bind("127.0.0.1", 0)
    limits = server.Limits(head_seconds=0.1, body_seconds=0.1, body_rate=20, head_bytes=4096)
    async with server.serving(_slow_app, sock, limits=limits):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        try:
            for part in parts:
                writer.write(part)
                await asyncio.sleep(pause)
            async with asyncio.timeout(5):
                return await reader.read()
        except ConnectionError:  # what we sent last found nobody
            return b""
        finally:
            writer.close()


@pytest.mark.parametrize("head", [b"", b"GET", WHOLE[:-2]])
async def test_a_client_that_never_ends_its_head_is_let_go(head: bytes) -> None:
    """Slow heads cost an attacker nothing and would use up the server's connections."""
    assert await _ends(head) == b""


async def test_a_head_sent_by_the_byte_gains_no_time() -> None:
    assert await _ends(b"GET / HTTP/1.1\r\n", *([b"X"] * 8), pause=0.02) == b""


async def test_an_answer_may_take_longer_than_a_head() -> None:
    answer = await _ends(WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("second", [WHOLE[:-2], b"\r\n"])
async def test_a_second_head_has_no_more_time_than_the_first(second: bytes) -> None:
    assert (await _ends(WHOLE, second, pause=0.5)).count(b"HTTP/1.1 200") == 1


async def test_a_head_sent_ahead_spares_the_answer_before_it() -> None:
    assert (await _ends(WHOLE + WHOLE[:-2])).count(b"HTTP/1.1 200") == 1


async def test_a_head_over_the_limit_is_refused_before_it_ends() -> None:
    """Fails when headers of any length are kept: one connection could fill the memory."""
    endless = b"GET / HTTP/1.1\r\n" + b"X: " + b"a" * 1000 + b"\r\n"
    assert b" 431 " in await _ends(endless, *([b"Y: " + b"a" * 1000 + b"\r\n"] * 4), pause=0.01)


async def test_a_whole_head_over_the_limit_is_refused_too() -> None:
    long = b"GET / HTTP/1.1\r\nX: " + b"a" * 5000 + b"\r\n\r\n"
    assert b" 431 " in await _ends(long)


async def test_a_long_body_in_the_packet_of_its_head_is_no_long_head() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9000\r\n\r\n"
    assert b" 200 " in await _ends(head + b"a" * 9000)


async def test_trailers_of_any_length_are_not_kept() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    assert await _ends(chunked, *([b"Y: " + b"a" * 1000 + b"\r\n"] * 6), pause=0.01) == b""


async def test_a_body_that_stops_is_let_go_and_one_that_goes_on_is_not() -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8\r\n\r\n"
    assert await _ends(head + b"aaaa") == b""
    assert b" 200 " in await _ends(head, *([b"a"] * 8), pause=0.04)


async def test_connections_over_the_cap_are_closed() -> None:
    sock = server.bind("127.0.0.1", 0)
    async with server.serving(_slow_app, sock, limits=server.Limits(connections=1)):
        _, first = await asyncio.open_connection(*sock.getsockname())
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):  # reset, it may be while it connects
                reader, second = await asyncio.open_connection(*sock.getsockname())
                assert await reader.read() == b""
                second.close()
        first.close()


@pytest.mark.parametrize(
    ("given", "fits"),
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
def test_only_what_looks_like_a_request_id_is_echoed(given: str | None, fits: bool) -> None:
    assert server.fit_request_id(given) == (given if fits else None)


def test_every_value_of_a_header_is_given() -> None:
    headers = [(b"authorization", b"Bearer a"), (b"accept", b"x"), (b"authorization", b"\xe9")]
    scope: Scope = {"headers": headers}
    assert server.header_values(scope, b"authorization") == ["Bearer a", "é"]
    assert server.header_values(scope, b"cookie") == []
