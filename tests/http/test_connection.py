"""The short way for small POSTs: it answers as the long way does, byte for byte, and bounds as much."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import orjson
import pytest

from podpass.http import server
from podpass.http.connection import MAX_WAITING, QUICK_BYTES
from podpass.http.server import Limits, Receive, Reply, Scope, Send

SEEN = ("method", "path", "raw_path", "query_string", "http_version", "scheme", "root_path")
HEAD = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
POST = HEAD + b"Content-Length: 3\r\n\r\nabc"
UPGRADE = b"Connection: upgrade\r\nUpgrade: h2c\r\n"
LAST = HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\nlast"


def _chunked(*headers: bytes) -> bytes:
    return HEAD + b"".join(headers) + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


def _with(*headers: bytes, body: bytes = b"abc") -> bytes:
    return HEAD + b"".join(headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _get(target: bytes, method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n"


# Requests as they may come, whole; each is followed by LAST on its connection.
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
    "length nought": _with(body=b""),
    "at the bound": _with(body=b"x" * QUICK_BYTES),
    "over the bound": _with(body=b"x" * (QUICK_BYTES + 1)),
    "far over the bound": _with(body=b"x" * (5 * QUICK_BYTES)),
    "chunked": _chunked(),
    "chunked in capitals": _chunked().replace(b": chunked", b": CHUNKED"),
    "chunked and a space": _chunked().replace(b": chunked", b": chunked  "),
    "chunked with trailers": _chunked()[:-2] + b"Trailer: t\r\n\r\n",
    "expects": _with(b"Expect: 100-continue\r\n"),
    "upgrade": _with(b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n"),
    "websocket": _with(b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n"),
    "upgrade without a body": HEAD + UPGRADE + b"\r\n",
    "upgrade of length nought": _with(UPGRADE, body=b""),
    "upgrade in chunks": _chunked(UPGRADE),
    "connect": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "close": _with(b"Connection: close\r\n"),
    "1.0": POST.replace(b"1.1", b"1.0"),
    "1.0 kept": _with(b"Connection: keep-alive\r\n").replace(b"1.1", b"1.0"),
    "2.0": POST.replace(b"1.1", b"2.0"),
    "HEAD": _get(b"/echo", b"HEAD"),
    "PUT": POST.replace(b"POST", b"PUT"),
    "fails": POST.replace(b"/echo", b"/fails"),
    "header twice": _with(b"A: 1\r\n", b"a: 2\r\n"),
    "empty header": _with(b"A:\r\n"),
    "empty host": POST.replace(b"Host: x", b"Host:"),
    "host of two words": POST.replace(b"Host: x", b"Host: x y"),
    # What two readers of one stream might read differently (request smuggling).
    "length and chunked": _chunked(b"Content-Length: 3\r\n"),
    "two lengths": _with(b"Content-Length: 4\r\n"),
    "two equal lengths": _with(b"Content-Length: 3\r\n"),
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
    "folded header": _with(b"A: 1\r\n 2\r\n"),
    "space before colon": _with(b"A : 1\r\n"),
    "space in name": _with(b"A b: 1\r\n"),
    "NUL": _with(b"A: \0\r\n"),
    "no name": _with(b": 1\r\n"),
    "lower case": POST.replace(b"POST", b"post"),
    "two spaces": POST.replace(b"POST ", b"POST  "),
    "leading line break": b"\r\n" + POST,
    "rubbish after": POST + b"\0\1\2\3\r\n\r\n",
}


class App:
    """Says what it was asked, by either door."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await server.read_body(receive, 10 * QUICK_BYTES)
        reply = await self._answer(scope, body)
        await server.respond(send, reply.status, reply.body, reply.headers)

    async def _answer(self, scope: Scope, body: bytes) -> Reply:
        if scope["path"] == "/fails":
            raise RuntimeError("as an application may")
        if scope["path"] == "/slow":
            await asyncio.sleep(0.2)
        said = {name: repr(scope[name]) for name in SEEN}
        said |= {"headers": repr(scope["headers"]), "body": str(len(body)) + repr(body[:20])}
        said |= {"client": scope["client"][0], "extensions": repr(scope.get("extensions"))}
        return Reply(200, ((b"content-type", b"application/json"),), orjson.dumps(said))


class Quick(App):
    """The same, with the second door."""

    taken = 0

    def quick(self, scope: Scope, body: bytes) -> Coroutine[Any, Any, Reply] | None:
        if scope["path"] == "/other":
            return None
        self.taken += 1
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


async def _ask(app: App, parts: Sequence[bytes], **options: Any) -> bytes:
    """Send parts, each when the server has had a turn; give all that is answered."""
    async with _connected(app, **{"keep_alive_seconds": 1, **options}) as (reader, writer):
        # What is sent after a refusal finds nobody.
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        found = b""
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                while more := await reader.read(65536):
                    found += more
        return found


@pytest.mark.parametrize("name", CORPUS)
async def test_both_ways_answer_alike(name: str) -> None:
    parts = [CORPUS[name] + LAST]
    assert await _ask(Quick(), parts) == await _ask(App(), parts)


@pytest.mark.parametrize("name", [name for name in CORPUS if len(CORPUS[name]) < 500])
async def test_both_ways_answer_alike_what_comes_by_the_byte(name: str) -> None:
    parts = [b"%c" % sign for sign in CORPUS[name] + LAST]
    assert await _ask(Quick(), parts) == await _ask(App(), parts)


@pytest.mark.parametrize("cut", range(1, len(POST + LAST)))
async def test_a_request_may_be_cut_anywhere(cut: int) -> None:
    text, app = POST + LAST, Quick()
    answer = await _ask(app, [text[:cut], text[cut:]])
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"3b'abc'" in answer
    assert b"4b'last'" in answer


@pytest.mark.parametrize(
    ("name", "taken"),
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
async def test_plain_posts_take_the_short_way_and_others_do_not(name: str, taken: int) -> None:
    app = Quick()
    answer = await _ask(app, [CORPUS[name]], keep_alive_seconds=0)
    assert answer.count(b"HTTP/1.1 200") == 1
    assert app.taken == taken


HOSTS = [
    *(
        b"",
        b" ",
        b"x",
        b"x:",
        b"x:8443",
        b":80",
        b"login.test.",
        b"a_b.c~d",
        b"a%c3%bc",
        b"a" * 253,
    ),
    *(b"192.0.2.7", b"192.0.2.7:80", b"[::1]", b"[::1]:443", b"[2001:db8::192.0.2.7]"),
    # aiohttp and urllib send a zone, which other clients leave out.
    *(b"[fe80::1%eth0]:8443", b"[fe80::1%25eth0]:8443"),
]
NO_HOSTS = [
    *(
        b"a b",
        b"a\tb",
        b"a/b",
        b"a\\b",
        b"a,b",
        b"a, b",
        b"a@b",
        b"a:b@c",
        b"a?b",
        b"a#b",
        b'"a"',
        b"<a>",
    ),
    *(b"a\0b", b"a\x01b", b"a\x7fb", b"b\xc3\xbccher.test", b"a%2", b"a%zz", b"https://a"),
    *(b"a:b", b"a:80:80", b"a:-1", b"a:123456", b"::1", b"[::1", b"::1]", b"[::1]a", b"[]", b"[a]"),
    *(b"[1.2]", b"[::1%]", b"[::1%a]b]", b"[" * 2000, b"a%aa" * 500 + b"/"),
]


@pytest.mark.parametrize("app", [App(), Quick()])
@pytest.mark.parametrize("host", HOSTS)
async def test_a_name_or_an_address_with_or_without_a_port_is_a_host(app: App, host: bytes) -> None:
    answer = await _ask(app, [LAST.replace(b"Host: x", b"Host: " + host)])
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("app", [App(), Quick()])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("host", NO_HOSTS)
async def test_a_host_that_is_none_is_refused_and_nothing_after_it_is_read(
    app: App, version: bytes, host: bytes
) -> None:
    sent = POST.replace(b"Host: x", b"Host: " + host).replace(b"1.1", version)
    answer = await _ask(app, [sent + LAST])
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("app", [App(), Quick()])
async def test_blanks_after_a_value_belong_to_it_for_nobody(app: App) -> None:
    """Fails when only who judges a head leaves them out: to who reads it, `x ` would be another host."""
    answer = await _ask(app, [LAST.replace(b"Host: x", b"Host: \t x \t \r\nA: \t b c ")])
    assert b"(b'host', b'x'), (b'a', b'b c')" in answer


async def test_a_refused_head_is_told_of_where_that_is_wanted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "podpass.http.connection")
    await _ask(App(), [LAST.replace(b"Host: x", b"Host: secret@x")])
    (told,) = [each for each in caplog.records if each.name == "podpass.http.connection"]
    assert told.message == "head_refused"
    assert vars(told).items() >= {"source": "127.0.0.1", "status": 400}.items()
    assert "secret" not in repr(vars(told))


@pytest.mark.parametrize("app", [App(), Quick()])
@pytest.mark.parametrize("wish", [b"h2c", b"websocket", b"foo"])
@pytest.mark.parametrize("method", [b"POST", b"GET"])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_body_after_a_wish_to_upgrade_is_no_request(
    app: App, wish: bytes, method: bytes, chunked: bool
) -> None:
    """Two answers to what a proxy takes for one request shift all answers after them to others."""
    head = HEAD.replace(b"POST", method) + UPGRADE.replace(b"h2c", wish)
    if chunked:
        parts = [head + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n" % len(LAST), LAST]
    else:
        parts = [head + b"Content-Length: %d\r\n\r\n" % len(LAST), LAST]
    answer = await _ask(app, parts)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("app", [App(), Quick()])
async def test_a_wish_to_upgrade_without_a_body_is_answered_as_the_last(app: App) -> None:
    """Java's client wishes for it in each first request over plain HTTP."""
    answer = await _ask(
        app, [_get(b"/echo").replace(b"\r\n\r\n", b"\r\n" + UPGRADE + b"\r\n"), LAST]
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("app", [App(), Quick()])
@pytest.mark.parametrize("path", [b"/echo", b"/other"])
async def test_a_trailer_adds_no_header(app: App, path: bytes) -> None:
    """A proxy that strips a header by its name does not look there."""
    trailer = (
        b"Authorization: Basic abcd\r\nExpect: 100-continue\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"
    )
    sent = _chunked().replace(b"/echo", path)[:-2] + trailer
    answer = await _ask(app, [sent + LAST], proxies=(ip_network("127.0.0.0/8"),))
    assert answer.count(b"HTTP/1.1 200") == 2
    assert b"transfer-encoding" in answer
    assert b"authorization" not in answer
    assert b"192.0.2.7" not in answer


@pytest.mark.parametrize("app", [App(), Quick()])
async def test_a_trailer_has_the_bound_of_a_head(app: App) -> None:
    trailer = b"".join(b"A%d: %b\r\n" % (number, b"a" * 100) for number in range(50))
    sent = _chunked()[:-2] + trailer + b"\r\n"
    limits = Limits(head_bytes=4096)
    assert b"HTTP/1.1 200" not in await _ask(app, [sent], limits=limits)
    assert b"HTTP/1.1 200" in await _ask(app, [sent + LAST])


async def test_a_hundred_connections_are_answered_each_its_own() -> None:
    sock = server.bind("127.0.0.1", 0)

    async def ask(number: int) -> bytes:
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(LAST.replace(b"last", b"%04d" % number))
        answer = await reader.read()
        writer.close()
        return answer

    async with server.serving(Quick(), sock):
        answers = await asyncio.gather(*(ask(number) for number in range(100)))
    for number, answer in enumerate(answers):
        assert b"4b'%04d'" % number in answer


async def test_a_client_who_hangs_up_is_forgotten_and_others_are_not() -> None:
    app = Quick()
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


async def test_answers_keep_the_order_of_their_requests() -> None:
    slow = POST.replace(b"/echo", b"/slow")
    answer = await _ask(Quick(), [slow + _get(b"/echo") + POST + LAST])
    order = [answer.index(text) for text in (b"/slow", b"'GET'", b"4b'last'")]
    assert order == sorted(order)
    assert answer.count(b"HTTP/1.1 200") == 4


async def test_a_body_that_stops_is_let_go_on_the_short_way_too() -> None:
    limits = Limits(head_seconds=0.1, body_seconds=0.1)
    assert await _ask(Quick(), [POST[:-1]], limits=limits) == b""


@pytest.mark.parametrize("app", [App(), Quick()])
async def test_a_body_that_drips_is_let_go(app: App) -> None:
    """Fails when each byte gains its sender as much time again."""
    limits = Limits(body_seconds=0.3, body_rate=10_000)
    async with _connected(app, limits=limits) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 1000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
            # While it still drips: one that stops is let go in any case.
            assert reader.at_eof() or reader.exception()


@pytest.mark.parametrize("app", [App(), Quick()])
@pytest.mark.parametrize("count", [MAX_WAITING, 3000])
async def test_requests_ahead_of_their_answers_are_bounded(app: App, count: int) -> None:
    """One connection would fill all memory: each waiting request takes forty times what it was sent in."""
    asked = []

    class Counting(type(app)):  # type: ignore[misc]
        async def _answer(self, scope: Scope, body: bytes) -> Reply:
            asked.append(scope["path"])
            return await super()._answer(scope, body)  # type: ignore[no-any-return]

    slow = POST.replace(b"/echo", b"/slow")
    answer = await _ask(Counting(), [slow + POST * (count - 1) + LAST])
    if count == MAX_WAITING:
        assert answer.count(b"HTTP/1.1 200") == len(asked) == count + 1
    else:
        assert answer == b""
        assert len(asked) <= 1


@pytest.mark.parametrize("app", [App(), Quick()])
async def test_what_comes_with_a_refused_head_is_not_asked(app: App) -> None:
    answer = await _ask(app, [b"GET /x\r\n\r\n" + POST + POST])
    assert b"HTTP/1.1 200" not in answer


async def test_a_long_head_is_refused_on_the_short_way_too() -> None:
    long = _with(*(b"A: " + b"a" * 1000 + b"\r\n" for _ in range(5)))
    assert b" 431 " in await _ask(Quick(), [long], limits=Limits(head_bytes=4096))


@pytest.mark.parametrize("app", [App(), Quick()])
async def test_an_idle_connection_is_kept_for_its_time_and_no_longer(app: App) -> None:
    async with _connected(app, keep_alive_seconds=0) as (reader, writer):
        writer.write(POST)
        async with asyncio.timeout(5):
            assert (await reader.read()).count(b"HTTP/1.1 200") == 1


async def test_a_stop_waits_for_answers_under_way_and_tells_it_was_the_last() -> None:
    sock = server.bind("127.0.0.1", 0)
    async with server.serving(Quick(), sock):
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(POST.replace(b"/echo", b"/slow"))
        await asyncio.sleep(0.05)
    answer = await reader.read()
    writer.close()
    assert b"HTTP/1.1 200" in answer
    assert b"connection: close" in answer


@pytest.mark.parametrize("line_break", [b"\r\n", b"\n", b"\r"])
async def test_an_answer_with_a_line_break_in_a_header_is_not_sent(line_break: bytes) -> None:
    class Broken(Quick):
        async def _answer(self, scope: Scope, body: bytes) -> Reply:
            del scope, body
            return Reply(200, ((b"a", b"b%bset-cookie: c" % line_break),), b"")

    answer = await _ask(Broken(), [POST])
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"set-cookie" not in answer


@pytest.mark.parametrize("app", [App(), Quick()])
async def test_a_forwarded_address_counts_from_a_proxy_alone(app: App) -> None:
    """Fails when anybody's X-Forwarded-For is believed: a flood would come from everywhere."""
    last = LAST.replace(b"Host: x\r\n", b"Host: x\r\nX-Forwarded-For: 192.0.2.7\r\n")
    assert b'"client":"127.0.0.1"' in await _ask(app, [last])
    proxies = (ip_network("127.0.0.0/8"),)
    assert b'"client":"192.0.2.7"' in await _ask(app, [last], proxies=proxies)
