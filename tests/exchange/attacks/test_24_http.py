"""Group 24: HTTP as no library would send it, over raw sockets: slow, doubled, ambiguous, endless."""

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import pytest

if TYPE_CHECKING:
    from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
# A request of another client, hidden in the body of the first: an answer to it would be the attack's success.
SMUGGLED = b"GET /discovery/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def connect(
    world: "World", protocols: list[str] | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    trust = ssl.create_default_context(cafile=world.ca_file)
    if protocols:
        trust.set_alpn_protocols(protocols)
    return await asyncio.open_connection(
        "127.0.0.1", urlsplit(world.url).port, ssl=trust, server_hostname="localhost"
    )


async def talk(world: "World", *parts: bytes, pause: float = 0.0, seconds: float = 1.0) -> bytes:
    """Send bytes as they are; give what came until the server hung up or said nothing for a while."""
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


def token_request(world: "World", *headers: bytes, body: bytes | None = None) -> bytes:
    sent = urlencode(world.form()).encode() if body is None else body
    head = f"POST /{world.TENANT}/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\n".encode()
    return head + FORM + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + sent


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


async def test_a_request_written_by_hand_is_answered(shared: "World") -> None:
    """What the refusals below are worth."""
    body = urlencode(shared.form()).encode()
    answer = await talk(shared, token_request(shared, b"Content-Length: %d" % len(body), body=body))
    assert statuses(answer) == [200]
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
async def test_a_body_of_two_lengths_hides_no_second_request(
    shared: "World", headers: tuple[bytes, ...]
) -> None:
    """Refused, or read in one way, with nothing after it: never a second answer."""
    sent = token_request(shared, *headers, body=b"0\r\n\r\n" + SMUGGLED)
    found = statuses(await talk(shared, sent))
    assert len(found) <= 1
    assert all(status in {400, 501} for status in found)


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
async def test_a_body_in_a_coding_we_do_not_speak_is_not_read(
    shared: "World", headers: tuple[bytes, ...]
) -> None:
    """Who speaks it, or takes the first field of two, would see another body."""
    body = urlencode(shared.form()).encode()
    sent = token_request(shared, *headers, body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert statuses(await talk(shared, sent + SMUGGLED)) in ([501], [400])


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
        b"\r\n\r\n\r\n",
        b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
    ],
)
async def test_a_head_that_is_none_is_refused(shared: "World", sent: bytes) -> None:
    answer = await talk(shared, sent, seconds=0.3)
    assert all(status in {400, 404, 405, 501, 505} for status in statuses(answer))
    assert b"access_token" not in answer
    assert answer.count(b"HTTP/1.1 404") <= 1 or b"smuggled" not in sent


@pytest.mark.parametrize(
    "sent", [b"GET /common/discovery/keys\r\n\r\n", b"GET /common/discovery/keysHTTP/1.0\r\n\r\n"]
)
async def test_a_request_of_http_0_9_is_none(shared: "World", sent: bytes) -> None:
    """It has no head and no version: what a proxy takes for one request would be another one here."""
    assert await talk(shared, sent, seconds=0.3) == b""


@pytest.mark.parametrize(
    "chunks",
    [
        b"-1\r\n\r\n",
        b"xyz\r\n\r\n",
        b"fffffffffffffffff\r\n\r\n",
        b"5\r\nab",
        b"1\r\nabc\r\n0\r\n\r\n",
        b"5\nabcde\n0\n\n" + SMUGGLED,
        b"0\r\nContent-Length: 9\r\n\r\n",
        b"0;ext=\0\r\n\r\n",
    ],
)
async def test_chunks_that_do_not_add_up_give_no_token(shared: "World", chunks: bytes) -> None:
    sent = token_request(shared, b"Transfer-Encoding: chunked", body=chunks)
    answer = await talk(shared, sent, seconds=0.3)
    assert len(statuses(answer)) <= 1
    assert all(status in {400, 501} for status in statuses(answer))


async def test_a_client_that_waits_for_leave_is_given_it_once(shared: "World") -> None:
    body = urlencode(shared.form()).encode()
    head = token_request(
        shared, b"Expect: 100-continue", b"Content-Length: %d" % len(body), body=b""
    )
    assert statuses(await talk(shared, head, body, pause=0.1)) == [100, 200]


async def test_leave_is_asked_for_and_the_body_never_comes(shared: "World") -> None:
    head = token_request(shared, b"Expect: 100-continue", b"Content-Length: 70000000", body=b"")
    answer = await talk(shared, head, seconds=0.3)
    assert statuses(answer) in ([100], [413], [100, 413], [])


async def test_a_body_announced_as_huge_is_refused_when_it_comes(shared: "World") -> None:
    head = token_request(shared, b"Content-Length: 9999999999", body=b"x" * 70_000)
    assert 413 in statuses(await talk(shared, head))


@pytest.mark.parametrize("count", [2000, 20_000])
async def test_headers_in_thousands_are_cut_off(shared: "World", count: int) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 40) for number in range(count))
    head = b"GET /common/discovery/keys HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n"
    assert statuses(await talk(shared, head)) in ([431], [])


async def test_one_header_of_a_megabyte_is_cut_off(shared: "World") -> None:
    head = b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert statuses(await talk(shared, head)) in ([431], [400], [])


async def test_requests_in_a_row_are_answered_in_their_order(shared: "World") -> None:
    """Pipelining: each answer belongs to its own request, whoever is the faster to judge."""
    body = urlencode(shared.form()).encode()
    first = token_request(shared, b"Content-Length: %d" % len(body), body=body)
    second = b"GET /common/discovery/keys HTTP/1.1\r\nHost: localhost\r\n\r\n"
    third = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert statuses(await talk(shared, first + second + third)) == [200, 200, 404]


async def test_http_2_is_not_offered_so_its_floods_have_no_door(shared: "World") -> None:
    reader, writer = await connect(shared, ["h2", "http/1.1"])
    tls = writer.get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() != "h2"
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    answer = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        answer = await asyncio.wait_for(reader.read(), 0.5)
    writer.close()
    assert statuses(answer) in ([], [400], [505])
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    head = b"GET /common/discovery/keys HTTP/1.1\r\nHost: localhost\r\n" + upgrade + b"\r\n"
    assert statuses(await talk(shared, head, seconds=0.5)) == [200]


async def test_a_hundred_slow_clients_do_not_keep_a_good_one_waiting(shared: "World") -> None:
    slow = [await connect(shared) for _ in range(100)]
    for number, (_, writer) in enumerate(slow):
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nX: "[: 4 + number % 40])
    async with asyncio.timeout(5):
        assert (await shared.ask()).status == 200
    for _, writer in slow:
        writer.close()


async def test_the_service_still_answers_after_all_of_it(shared: "World") -> None:
    assert (await shared.ask()).status == 200
