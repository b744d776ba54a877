"""Group 24: malformed HTTP over raw sockets: slow, duplicate, ambiguous, endless."""

import asyncio
import contextlib
import ssl
from urllib.parse import urlencode, urlsplit

import pytest

from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
# The timeout for requests after which the server closes the connection; it is long for a busy machine.
CLOSED_SECONDS = 10.0
# A request that is hidden in the body of another: a response to it would mean that the attack succeeded.
SMUGGLED = b"GET /discovery/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def connect(
    world: World, protocols: list[str] | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    trust = ssl.create_default_context(cafile=world.ca_file)
    if protocols:
        trust.set_alpn_protocols(protocols)
    return await asyncio.open_connection(
        "127.0.0.1", urlsplit(world.url).port, ssl=trust, server_hostname="localhost"
    )


async def send_raw(world: World, *parts: bytes, pause: float = 0.0, seconds: float = 1.0) -> bytes:
    """Send raw bytes; return the data until the server closes or sends nothing for `seconds`."""
    reader, writer = await connect(world)
    found = bytearray()
    with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        while chunk := await asyncio.wait_for(reader.read(65536), seconds):
            found += chunk
            if b"\r\n\r\n" in found and seconds == 1.0:
                seconds = 0.15
    writer.close()
    return bytes(found)


def token_request(world: World, *headers: bytes, body: bytes | None = None) -> bytes:
    sent = urlencode(world.form()).encode() if body is None else body
    head = f"POST /{world.TENANT}/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\n".encode()
    return head + FORM + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + sent


def parse_statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


async def test_valid_raw_request_is_accepted(shared: World) -> None:
    """A valid request is accepted, so the refusals below have one cause."""
    body = urlencode(shared.form()).encode()
    answer = await send_raw(
        shared, token_request(shared, b"Content-Length: %d" % len(body), body=body)
    )
    assert parse_statuses(answer) == [200]
    assert b"access_token" in answer


@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        (b"Content-Length: 5", b"Content-Length: 70"),
        (b"Content-Length: 5, 70",),
        (b"Content-Length: +5",),
        (b"Content-Length: -5",),
        (b"Content-Length: 0x5",),
        (b"Content-Length: 5 5",),
        (b"Content-Length: 99999999999999999999999",),
        (b"Content-Length : 5",),
        (b"Transfer-Encoding: xchunked", b"Content-Length: 5"),
        (b"Transfer-Encoding : chunked",),
        (b"Transfer-Encoding: identity, chunked, identity",),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",),
    ],
    ids=lambda headers: b"|".join(headers).decode().replace("\r\n", "|"),
)
async def test_body_with_two_lengths_is_refused(shared: World, headers: tuple[bytes, ...]) -> None:
    """The request is refused, and nothing after it is read as a second request."""
    sent = token_request(shared, *headers, body=b"0\r\n\r\n" + SMUGGLED)
    assert parse_statuses(await send_raw(shared, sent, seconds=CLOSED_SECONDS)) == [400]


@pytest.mark.parametrize(
    "headers",
    [
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: ,chunked",),
    ],
    ids=lambda headers: b"|".join(headers).decode(),
)
async def test_body_with_unsupported_transfer_coding_is_refused(
    shared: World, headers: tuple[bytes, ...]
) -> None:
    """A proxy that supports the coding, or uses the first of two fields, would see another body."""
    body = urlencode(shared.form()).encode()
    sent = token_request(shared, *headers, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert parse_statuses(await send_raw(shared, sent + SMUGGLED)) in ([501], [400])


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\nHost: localhost\n\n" + SMUGGLED,
        b"GET / HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n" + SMUGGLED,
        b"GET / HTTP/1.1\rHost: localhost\r\r",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX\0: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n X: folded\r\n\r\n",
        b"GET / HTTP/1.1\r\n : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1 x\r\n\r\n",
        b"G\0T / HTTP/1.1\r\n\r\n",
        b"GET \x7f\x01 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"{}\r\n\r\n",
        b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
    ],
)
async def test_malformed_head_is_refused(shared: World, sent: bytes) -> None:
    answer = await send_raw(shared, sent, seconds=CLOSED_SECONDS)
    assert parse_statuses(answer) == [400]
    assert b"access_token" not in answer


async def test_empty_lines_before_a_request_are_ignored(shared: World) -> None:
    """RFC 9112 section 2.2: a server ignores empty lines before the request line."""
    assert await send_raw(shared, b"\r\n\r\n\r\n", seconds=0.3) == b""


@pytest.mark.parametrize(
    "sent", [b"GET /common/discovery/keys\r\n\r\n", b"GET /common/discovery/keysHTTP/1.0\r\n\r\n"]
)
async def test_http_0_9_request_gets_no_response(shared: World, sent: bytes) -> None:
    """HTTP/0.9 has no head and no version: a proxy would see other request boundaries."""
    assert await send_raw(shared, sent, seconds=0.3) == b""


@pytest.mark.parametrize(
    "chunks",
    [
        *(b"-1\r\n\r\n", b"xyz\r\n\r\n", b"fffffffffffffffff\r\n\r\n", b"1\r\nabc\r\n0\r\n\r\n"),
        *(b"5\nabcde\n0\n\n" + SMUGGLED, b"0\r\nContent-Length: 9\r\n\r\n", b"0;ext=\0\r\n\r\n"),
    ],
)
async def test_malformed_chunks_are_refused(shared: World, chunks: bytes) -> None:
    sent = token_request(shared, b"Transfer-Encoding: chunked", body=chunks)
    assert parse_statuses(await send_raw(shared, sent, seconds=CLOSED_SECONDS)) == [400]


async def test_incomplete_chunk_gets_no_response(shared: World) -> None:
    sent = token_request(shared, b"Transfer-Encoding: chunked", body=b"5\r\nab")
    assert await send_raw(shared, sent, seconds=0.3) == b""


async def test_expect_100_continue_gets_one_interim_response(shared: World) -> None:
    body = urlencode(shared.form()).encode()
    head = token_request(
        shared, b"Expect: 100-continue", b"Content-Length: %d" % len(body), body=b""
    )
    assert parse_statuses(await send_raw(shared, head, body, pause=0.1)) == [100, 200]


async def test_expect_100_continue_without_body_gets_no_token(shared: World) -> None:
    head = token_request(shared, b"Expect: 100-continue", b"Content-Length: 70000000", body=b"")
    assert parse_statuses(await send_raw(shared, head)) in ([100], [413], [100, 413])


async def test_body_with_huge_content_length_is_refused(shared: World) -> None:
    head = token_request(shared, b"Content-Length: 9999999999", body=b"x" * 70_000)
    assert 413 in parse_statuses(await send_raw(shared, head))


@pytest.mark.parametrize("count", [2000, 20_000])
async def test_thousands_of_headers_are_refused(shared: World, count: int) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 40) for number in range(count))
    head = b"GET /common/discovery/keys HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n"
    assert parse_statuses(await send_raw(shared, head, seconds=CLOSED_SECONDS)) == [431]


async def test_request_line_of_a_megabyte_is_refused(shared: World) -> None:
    head = b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert parse_statuses(await send_raw(shared, head, seconds=CLOSED_SECONDS)) == [431]


async def test_pipelined_requests_get_responses_in_order(shared: World) -> None:
    """Pipelining: responses come in the order of the requests, however long each takes."""
    body = urlencode(shared.form()).encode()
    first = token_request(shared, b"Content-Length: %d" % len(body), body=body)
    second = b"GET /common/discovery/keys HTTP/1.1\r\nHost: localhost\r\n\r\n"
    third = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert parse_statuses(await send_raw(shared, first + second + third)) == [200, 200, 404]


async def test_http_2_is_not_offered(shared: World) -> None:
    reader, writer = await connect(shared, ["h2", "http/1.1"])
    tls = writer.get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() != "h2"
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    answer = await asyncio.wait_for(reader.read(), CLOSED_SECONDS)
    writer.close()
    assert parse_statuses(answer) == [400]
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    head = b"GET /common/discovery/keys HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n"
    assert parse_statuses(await send_raw(shared, head, seconds=0.5)) == [200]


async def test_hundred_slow_clients_do_not_delay_another_client(shared: World) -> None:
    slow = [await connect(shared) for _ in range(100)]
    for number, (_, writer) in enumerate(slow):
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nX: "[: 4 + number % 40])
    async with asyncio.timeout(5):
        assert (await shared.request_token()).status == 200
    for _, writer in slow:
        writer.close()


async def test_service_still_works_after_all_malformed_requests(shared: World) -> None:
    assert (await shared.request_token()).status == 200
