"""The fast path for small POST requests: the same responses and the same limits as the ASGI path."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import orjson
import pytest

from podpass.http import server
from podpass.http.connection import FAST_PATH_MAX_BYTES, MAX_PIPELINED
from podpass.http.limits import LIMITS
from podpass.http.server import Limits, Receive, Reply, Scope, Send

FIELDS = ("method", "path", "raw_path", "query_string", "http_version", "scheme", "root_path")
HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
POST = HEAD + b"Content-Length: 3\r\n\r\nabc"
UPGRADE = b"Connection: upgrade\r\nUpgrade: h2c\r\n"
LAST = HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\nlast"


def _chunked(*headers: bytes) -> bytes:
    return HEAD + b"".join(headers) + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


def _post_with_body(*headers: bytes, body: bytes = b"abc") -> bytes:
    return HEAD + b"".join(headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _get(target: bytes, method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n"


# Complete requests; each is followed by LAST on its connection.
CORPUS = {
    "plain": POST,
    "two": POST * 2,
    "three and a GET": POST * 3 + _get(b"/echo"),
    "a GET first": _get(b"/echo") + POST,
    "query": POST.replace(b"/echo", b"/echo?a=b&c=%20"),
    "fragment": POST.replace(b"/echo", b"/echo#f"),
    "escaped": POST.replace(b"/echo", b"/%65cho"),
    "double slash": POST.replace(b"/echo", b"//echo"),
    "absolute": POST.replace(b"/echo", b"http://y/echo"),
    "asterisk": POST.replace(b"/echo", b"*"),
    "not ASCII": POST.replace(b"/echo", b"/\xc3\xa9"),
    "declined": POST.replace(b"/echo", b"/other"),
    "no length": HEAD + b"\r\n",
    "length nought": _post_with_body(body=b""),
    "at the bound": _post_with_body(body=b"x" * FAST_PATH_MAX_BYTES),
    "over the bound": _post_with_body(body=b"x" * (FAST_PATH_MAX_BYTES + 1)),
    "far over the bound": _post_with_body(body=b"x" * (5 * FAST_PATH_MAX_BYTES)),
    "chunked": _chunked(),
    "chunked in capitals": _chunked().replace(b": chunked", b": CHUNKED"),
    "chunked and a space": _chunked().replace(b": chunked", b": chunked  "),
    "chunked with trailers": _chunked()[:-2] + b"Trailer: t\r\n\r\n",
    "expects": _post_with_body(b"Expect: 100-continue\r\n"),
    "upgrade": _post_with_body(b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n"),
    "websocket": _post_with_body(b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n"),
    "upgrade without a body": HEAD + UPGRADE + b"\r\n",
    "upgrade of length nought": _post_with_body(UPGRADE, body=b""),
    "upgrade in chunks": _chunked(UPGRADE),
    "connect": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "close": _post_with_body(b"Connection: close\r\n"),
    "1.0": POST.replace(b"1.1", b"1.0"),
    "1.0 kept": _post_with_body(b"Connection: keep-alive\r\n").replace(b"1.1", b"1.0"),
    "2.0": POST.replace(b"1.1", b"2.0"),
    "HEAD": _get(b"/echo", b"HEAD"),
    "PUT": POST.replace(b"POST", b"PUT"),
    "fails": POST.replace(b"/echo", b"/fails"),
    "header twice": _post_with_body(b"A: 1\r\n", b"a: 2\r\n"),
    "empty header": _post_with_body(b"A:\r\n"),
    "empty host": POST.replace(b"Host: x", b"Host:"),
    "host of two words": POST.replace(b"Host: x", b"Host: x y"),
    # Requests that two parsers may read differently (request smuggling).
    "length and chunked": _chunked(b"Content-Length: 3\r\n"),
    "two lengths": _post_with_body(b"Content-Length: 4\r\n"),
    "two equal lengths": _post_with_body(b"Content-Length: 3\r\n"),
    "length +3": HEAD + b"Content-Length: +3\r\n\r\nabc",
    "length -3": HEAD + b"Content-Length: -3\r\n\r\nabc",
    "length 3, 3": HEAD + b"Content-Length: 3, 3\r\n\r\nabc",
    "length 0x3": HEAD + b"Content-Length: 0x3\r\n\r\nabc",
    "length of 20 digits": HEAD + b"Content-Length: 99999999999999999999\r\n\r\nabc",
    "chunked twice": _chunked().replace(b": chunked", b": chunked, chunked"),
    "chunked, then not": _chunked().replace(b": chunked", b": chunked, identity"),
    "chunked in a tab": _chunked().replace(b": chunked", b":\tchunked"),
    "chunk of a bad size": _chunked().replace(b"\r\n3\r\n", b"\r\n3x\r\n"),
    "bare line feeds": POST.replace(b"\r\n", b"\n"),
    "bare carriage return": POST.replace(b"Host: x\r\n", b"Host: x\rA: b\r\n"),
    "folded header": _post_with_body(b"A: 1\r\n 2\r\n"),
    "space before colon": _post_with_body(b"A : 1\r\n"),
    "space in name": _post_with_body(b"A b: 1\r\n"),
    "NUL": _post_with_body(b"A: \0\r\n"),
    "no name": _post_with_body(b": 1\r\n"),
    "lower case": POST.replace(b"POST", b"post"),
    "two spaces": POST.replace(b"POST ", b"POST  "),
    "leading line break": b"\r\n" + POST,
    "rubbish after": POST + b"\0\1\2\3\r\n\r\n",
}


class App:
    """An application that returns the request, on either path."""

    def __init__(self) -> None:
        self.started = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await server.read_body(receive, 10 * FAST_PATH_MAX_BYTES)
        reply = await self._answer(scope, body)
        await server.respond(send, reply.status, reply.body, reply.headers)

    async def _answer(self, scope: Scope, body: bytes) -> Reply:
        if scope["path"] == "/fails":
            raise RuntimeError("as an application may")
        if scope["path"] == "/slow":
            self.started.set()
            await asyncio.sleep(0.2)
        found = {name: repr(scope[name]) for name in FIELDS}
        found |= {"headers": repr(scope["headers"]), "body": str(len(body)) + repr(body[:20])}
        found |= {"client": scope["client"][0], "extensions": repr(scope.get("extensions"))}
        return Reply(200, ((b"content-type", b"application/json"),), orjson.dumps(found))


class FastPathApp(App):
    """The same application with a fast path."""

    count = 0

    def fast_path(self, scope: Scope, body: bytes) -> Coroutine[Any, Any, Reply] | None:
        if scope["path"] == "/other":
            return None
        self.count += 1
        return self._answer(scope, body)


@asynccontextmanager
async def _connected(
    app: App, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    sock = server.bind("127.0.0.1", 0)
    async with server.serving(app, sock, **options):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()


async def _send_parts(
    app: App,
    parts: Sequence[bytes],
    *,
    limits: Limits = LIMITS,
    keep_alive_seconds: int = 1,
    **options: Any,
) -> bytes:
    """Send parts, each in another event-loop iteration; return all responses."""
    limits = replace(limits, keep_alive_seconds=keep_alive_seconds)
    async with _connected(app, limits=limits, **options) as (reader, writer):
        # The server may have closed the connection after an error.
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        found = b""
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                while more := await reader.read(65536):
                    found += more
        return found


@pytest.mark.parametrize("name", CORPUS)
async def test_fast_path_and_asgi_path_send_equal_responses(name: str) -> None:
    parts = [CORPUS[name] + LAST]
    assert await _send_parts(FastPathApp(), parts) == await _send_parts(App(), parts)


@pytest.mark.parametrize("name", [name for name in CORPUS if len(CORPUS[name]) < 500])
async def test_fast_path_and_asgi_path_send_equal_responses_byte_by_byte(name: str) -> None:
    parts = [b"%c" % char for char in CORPUS[name] + LAST]
    assert await _send_parts(FastPathApp(), parts) == await _send_parts(App(), parts)


@pytest.mark.parametrize("cut", range(1, len(POST + LAST)))
async def test_request_split_at_any_byte_gets_its_response(cut: int) -> None:
    text, app = POST + LAST, FastPathApp()
    answer = await _send_parts(app, [text[:cut], text[cut:]])
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"3b'abc'" in answer
    assert b"4b'last'" in answer


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("plain", 1),
        ("chunked", 1),
        ("chunked in capitals", 1),
        ("chunked and a space", 1),
        ("at the bound", 1),
        ("over the bound", 0),
        ("declined", 0),
        ("escaped", 0),
        ("expects", 0),
        ("upgrade without a body", 0),
        ("1.0", 0),
        ("PUT", 0),
    ],
)
async def test_only_plain_posts_use_fast_path(name: str, count: int) -> None:
    app = FastPathApp()
    answer = await _send_parts(app, [CORPUS[name]], keep_alive_seconds=0)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert app.count == count


HOSTS = [
    *(
        *(b"", b" ", b"x", b"x:", b"x:8443", b":80", b"login.test.", b"a_b.c~d"),
        *(b"a%c3%bc", b"a" * 253),
    ),
    *(b"192.0.2.7", b"192.0.2.7:80", b"[::1]", b"[::1]:443", b"[2001:db8::192.0.2.7]"),
    # aiohttp and urllib send a zone, other clients omit it.
    *(b"[fe80::1%eth0]:8443", b"[fe80::1%25eth0]:8443"),
]
INVALID_HOSTS = [
    *(
        *(b"a b", b"a\tb", b"a/b", b"a\\b", b"a,b", b"a, b", b"a@b", b"a:b@c", b"a?b", b"a#b"),
        *(b'"a"', b"<a>"),
    ),
    *(b"a\0b", b"a\x01b", b"a\x7fb", b"b\xc3\xbccher.test", b"a%2", b"a%zz", b"https://a"),
    *(b"a:b", b"a:80:80", b"a:-1", b"a:123456", b"::1", b"[::1", b"::1]", b"[::1]a", b"[]", b"[a]"),
    *(b"[1.2]", b"[::1%]", b"[::1%a]b]", b"[" * 2000, b"a%aa" * 500 + b"/"),
]


@pytest.mark.parametrize("app", [App(), FastPathApp()])
@pytest.mark.parametrize("host", HOSTS)
async def test_valid_host_is_accepted(app: App, host: bytes) -> None:
    answer = await _send_parts(app, [LAST.replace(b"Host: x", b"Host: " + host)])
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("app", [App(), FastPathApp()])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("host", INVALID_HOSTS)
async def test_invalid_host_is_refused_and_later_requests_are_not_read(
    app: App, version: bytes, host: bytes
) -> None:
    sent = POST.replace(b"Host: x", b"Host: " + host).replace(b"1.1", version)
    answer = await _send_parts(app, [sent + LAST])
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("app", [App(), FastPathApp()])
async def test_trailing_blanks_are_removed_from_header_values(app: App) -> None:
    """Fails if only the validation removes them: the application would read `x ` as another host."""
    answer = await _send_parts(app, [LAST.replace(b"Host: x", b"Host: \t x \t \r\nA: \t b c ")])
    assert b"(b'host', b'x'), (b'a', b'b c')" in answer


async def test_rejected_head_is_logged_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "podpass.http.connection")
    await _send_parts(App(), [LAST.replace(b"Host: x", b"Host: secret@x")])
    (record,) = [each for each in caplog.records if each.name == "podpass.http.connection"]
    assert record.message == "request_head_rejected"
    assert vars(record).items() >= {"source": "127.0.0.1", "status": 400}.items()
    assert "secret" not in repr(vars(record))


@pytest.mark.parametrize("app", [App(), FastPathApp()])
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"foo"])
@pytest.mark.parametrize("method", [b"POST", b"GET"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_body_of_upgrade_request_is_not_read_as_request(
    app: App, protocol: bytes, method: bytes, chunked: bool
) -> None:
    """If a proxy reads one request and gets two responses, all later responses reach wrong clients."""
    head = HEAD.replace(b"POST", method) + UPGRADE.replace(b"h2c", protocol)
    if chunked:
        parts = [head + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % len(LAST), LAST]
    else:
        parts = [head + b"Content-Length: %d\r\n\r\n" % len(LAST), LAST]
    answer = await _send_parts(app, parts)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("app", [App(), FastPathApp()])
async def test_upgrade_request_without_body_gets_last_response(app: App) -> None:
    """Java's client sends it in the first request over plain HTTP."""
    answer = await _send_parts(
        app, [_get(b"/echo").replace(b"\r\n\r\n", b"\r\n" + UPGRADE + b"\r\n"), LAST]
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("app", [App(), FastPathApp()])
@pytest.mark.parametrize("path", [b"/echo", b"/other"])
async def test_trailer_adds_no_header(app: App, path: bytes) -> None:
    """A proxy that removes headers by name does not check trailers."""
    trailer = (
        b"Authorization: Basic abcd\r\nExpect: 100-continue\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
    )
    sent = _chunked().replace(b"/echo", path)[:-2] + trailer
    answer = await _send_parts(app, [sent + LAST], proxies=(ip_network("127.0.0.0/8"),))
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b"transfer-encoding" in answer
    assert b"authorization" not in answer
    assert b"192.0.2.7" not in answer


@pytest.mark.parametrize("app", [App(), FastPathApp()])
async def test_trailer_has_size_limit_of_head(app: App) -> None:
    trailer = b"".join(b"A%d: %b\r\n" % (number, b"a" * 100) for number in range(50))
    sent = _chunked()[:-2] + trailer + b"\r\n"
    limits = Limits(head_bytes=4096)
    assert b"HTTP/1.1 200" not in await _send_parts(app, [sent], limits=limits)
    assert b"HTTP/1.1 200" in await _send_parts(app, [sent + LAST])


async def test_hundred_connections_get_their_own_responses() -> None:
    sock = server.bind("127.0.0.1", 0)

    async def ask(number: int) -> bytes:
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(LAST.replace(b"last", b"%04d" % number))
        answer = await reader.read()
        writer.close()
        return answer

    async with server.serving(FastPathApp(), sock):
        answers = await asyncio.gather(*(ask(number) for number in range(100)))
    for number, answer in enumerate(answers):
        assert b"4b'%04d'" % number in answer


async def test_aborted_connection_does_not_affect_others() -> None:
    app = FastPathApp()
    sock = server.bind("127.0.0.1", 0)
    async with server.serving(app, sock):
        for part in (POST[:-1], POST.replace(b"/echo", b"/slow")):
            _, gone = await asyncio.open_connection(*sock.getsockname())
            gone.write(part)
            await asyncio.sleep(0.05)
            gone.transport.abort()
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(LAST)
        assert b"4b'last'" in await reader.read()
        writer.close()


async def test_responses_are_in_the_order_of_requests() -> None:
    slow = POST.replace(b"/echo", b"/slow")
    answer = await _send_parts(FastPathApp(), [slow + _get(b"/echo") + LAST])
    order = [answer.index(text) for text in (b"/slow", b"'GET'", b"4b'last'")]
    assert order == sorted(order)
    assert answer.count(b"HTTP/1.1 200") == 3


async def test_connection_with_a_stalled_body_is_closed_on_fast_path() -> None:
    limits = Limits(head_seconds=0.1, body_seconds=0.1)
    assert await _send_parts(FastPathApp(), [POST[:-1]], limits=limits) == b""


@pytest.mark.parametrize("app", [App(), FastPathApp()])
async def test_body_sent_slowly_is_closed(app: App) -> None:
    """Fails if each byte extends the deadline."""
    limits = Limits(body_seconds=0.3, body_rate=10_000)
    async with _connected(app, limits=limits) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 1000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
            # The client still sends: a body that stops is closed in any case.
            assert reader.at_eof() or reader.exception()


@pytest.mark.parametrize("app", [App(), FastPathApp()])
@pytest.mark.parametrize("count", [MAX_PIPELINED, MAX_PIPELINED + 1, 3000])
async def test_pipelined_requests_are_limited(app: App, count: int) -> None:
    """One connection could use all memory: a waiting request needs 40 times the memory of its bytes."""
    asked = []

    class Counting(type(app)):  # type: ignore[misc]
        async def _answer(self, scope: Scope, body: bytes) -> Reply:
            asked.append(scope["path"])
            return await super()._answer(scope, body)  # type: ignore[no-any-return]

    slow = POST.replace(b"/echo", b"/slow")
    answer = await _send_parts(Counting(), [slow + POST * (count - 1) + LAST])
    if count == MAX_PIPELINED:
        assert answer.count(b"HTTP/1.1 200") == len(asked) == count + 1
    else:
        assert answer == b""
        assert len(asked) <= 1


@pytest.mark.parametrize("app", [App(), FastPathApp()])
async def test_requests_after_rejected_head_are_not_read(app: App) -> None:
    answer = await _send_parts(app, [b"GET /x\r\n\r\n" + POST + POST])
    assert b"HTTP/1.1 200" not in answer


async def test_long_head_is_refused_on_fast_path() -> None:
    long = _post_with_body(*(b"A: " + b"a" * 1000 + b"\r\n" for _ in range(5)))
    assert b" 431 " in await _send_parts(FastPathApp(), [long], limits=Limits(head_bytes=4096))


@pytest.mark.parametrize("app", [App(), FastPathApp()])
async def test_idle_connection_is_closed_after_keep_alive_time(app: App) -> None:
    async with _connected(app, limits=Limits(keep_alive_seconds=0)) as (reader, writer):
        writer.write(POST)
        async with asyncio.timeout(30):
            assert (await reader.read()).count(b"HTTP/1.1 200") == 1


async def test_stop_waits_for_request_in_flight_and_closes_its_connection() -> None:
    sock = server.bind("127.0.0.1", 0)
    app = FastPathApp()
    async with server.serving(app, sock, drain=server.Drain(grace_seconds=30)):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(POST.replace(b"/echo", b"/slow"))
        await app.started.wait()
    answer = await reader.read()
    writer.close()
    assert b"HTTP/1.1 200" in answer
    assert b"connection: close" in answer


@pytest.mark.parametrize("line_break", [b"\r\n", b"\n", b"\r"])
async def test_response_with_line_break_in_header_is_not_sent(line_break: bytes) -> None:
    class Broken(FastPathApp):
        async def _answer(self, scope: Scope, body: bytes) -> Reply:
            del scope, body
            return Reply(200, ((b"a", b"b%bset-cookie: c" % line_break),), b"")

    answer = await _send_parts(Broken(), [POST])
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"set-cookie" not in answer


@pytest.mark.parametrize("app", [App(), FastPathApp()])
async def test_forwarded_address_is_used_only_from_trusted_proxy(app: App) -> None:
    """Fails if X-Forwarded-For of every client is trusted: a flood could have many addresses."""
    last = LAST.replace(b"Host: x\r\n", b"Host: x\r\nX-Forwarded-For: 192.0.2.7\r\n")
    assert b'"client":"127.0.0.1"' in await _send_parts(app, [last])
    proxies = (ip_network("127.0.0.0/8"),)
    assert b'"client":"192.0.2.7"' in await _send_parts(app, [last], proxies=proxies)
