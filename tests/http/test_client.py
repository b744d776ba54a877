"""The small HTTP client: framing, interim responses, and TLS through a CONNECT proxy."""

import asyncio
import base64
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trustme

from podpass.http.client import HttpProxy, HttpServer, RequestFailed, send_request
from tests.imds.raw_server import RawServer, raw_server, serving_connections


async def _get(server: HttpServer, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
    async with asyncio.timeout(60):
        found = await send_request(server, method, "/x?y", ((b"a", b"b"),), body, max_bytes=1000)
    return found.status, found.body


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", 200, b"ab"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
            200,
            b"ab",
        ),
        (b"HTTP/1.0 200 OK\r\n\r\nab", 200, b"ab"),
        (b"HTTP/1.1 204 No\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\na", 404, b"a"),
    ],
    ids=("length", "chunks", "end of connection", "no body", "interim"),
)
async def test_response_body_is_read_by_its_framing(
    answer: bytes, status: int, body: bytes
) -> None:
    async with raw_server(RawServer(answer)) as made:
        assert await _get(HttpServer(host="127.0.0.1", port=made.port)) == (status, body)
    assert made.requests == [
        f"GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:{made.port}\r\na: b\r\nConnection: close\r\n\r\n".encode()
    ]


async def test_response_to_head_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"
    async with raw_server(RawServer(answer, is_silent=True)) as made:
        assert await _get(HttpServer(host="127.0.0.1", port=made.port), "HEAD") == (200, b"")


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        ("GET", "/a b", b"x"),
        ("GET", "/a\r\nX: y", b"x"),
        ("GET", "a", b"x"),
        ("GET /", "/", b"x"),
        ("GET", "/", b"x\r\nX: y"),
    ],
    ids=range(5),
)
async def test_request_with_line_breaks_or_blanks_is_not_sent(
    method: str, target: str, header: bytes
) -> None:
    async with raw_server(RawServer(b"HTTP/1.1 200 OK\r\n\r\n")) as made:
        with pytest.raises(RequestFailed, match="contain"):
            await send_request(
                HttpServer(host="127.0.0.1", port=made.port),
                *(method, target, ((b"a", header),), b""),
                max_bytes=9,
            )
    assert made.requests == []


# -------------------------------------------------------------------------------------------- tunnels


@dataclass
class ConnectProxy:
    """A proxy that opens tunnels to one port, or answers with fixed bytes."""

    target: int
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"
    heads: list[bytes] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        for part in (self.answer[:9], self.answer[9:]):
            writer.write(part)
            await writer.drain()
        if b" 200 " not in self.answer[:13]:
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        finally:
            far_writer.close()
            with contextlib.suppress(OSError):
                await far_writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def _tunnel(
    ca: trustme.CA, proxy: ConnectProxy, credentials: str = ""
) -> AsyncIterator[tuple[RawServer, HttpServer]]:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
    tls = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    async with (
        raw_server(RawServer(answer), ca, "login.example") as made,
        serving_connections(proxy.handle) as port,
    ):
        proxy.target = made.port
        server = HttpServer(
            host="login.example",
            port=443,
            tls=tls,
            proxy=HttpProxy(host="127.0.0.1", port=port, credentials=credentials),
        )
        yield made, server


async def test_tls_goes_through_the_tunnel(ca: trustme.CA) -> None:
    """The proxy resolves the name; the certificate is checked for it."""
    proxy = ConnectProxy(0)
    async with _tunnel(ca, proxy, "user:pass") as (made, server):
        assert await _get(server, "POST", b"form") == (200, b"ab")
        assert made.names == ["login.example"]
        assert made.requests[0].endswith(b"\r\n\r\nform")
    [head] = proxy.heads
    assert head.startswith(b"CONNECT login.example:443 HTTP/1.1\r\nHost: login.example:443\r\n")
    encoded = base64.b64encode(b"user:pass")
    assert b"Proxy-Authorization: Basic " + encoded + b"\r\n" in head


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 407 Authenticate\r\n\r\n", "the proxy refused the connection: status '407'"),
        (b"HTTP/1.1 503", "the proxy closed the connection"),
        (b"HTTP/1.1 502 " + b"x" * 70_000, "the response of the proxy is too long"),
        (b"SSH-2.0-x\r\n\r\n", "the proxy refused the connection: status"),
    ],
    ids=("refused", "closed", "long", "no HTTP"),
)
async def test_proxy_that_refuses_the_tunnel_is_reported(
    ca: trustme.CA, answer: bytes, message: str
) -> None:
    async with _tunnel(ca, ConnectProxy(0, answer), "user:secret") as (made, server):
        with pytest.raises(RequestFailed, match=message) as failed:
            await _get(server)
        assert made.requests == []
    assert "secret" not in str(failed.value)


async def test_caller_that_is_cancelled_at_any_step_leaves_no_unread_error(ca: trustme.CA) -> None:
    unread: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unread.append(context))
    async with _tunnel(ca, ConnectProxy(0, b"HTTP/1.1 503")) as (_, server):
        for steps in range(20):
            caller = asyncio.create_task(_get(server))
            for _step in range(steps):
                await asyncio.sleep(0)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
    gc.collect()
    assert unread == []


async def test_certificate_in_the_tunnel_is_checked(ca: trustme.CA) -> None:
    """Fails if the proxy could read the pod's assertion."""
    async with _tunnel(trustme.CA(), ConnectProxy(0)) as (made, server):
        tls = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
        untrusting = HttpServer(host=server.host, port=443, tls=tls, proxy=server.proxy)
        with pytest.raises(ssl.SSLCertVerificationError):
            await _get(untrusting, "POST", b"assertion")
        assert made.requests == []


async def test_unreachable_proxy_is_reported(ca: trustme.CA) -> None:
    async with _tunnel(ca, ConnectProxy(0)) as (_, server):
        pass
    with pytest.raises(RequestFailed, match=r"the proxy 127\.0\.0\.1 cannot be reached"):
        await _get(server)
