"""A small HTTP/1.1 client: one request per connection, bounded, with TLS and a CONNECT proxy.

The sidecar uses it instead of a library to save memory, because a sidecar runs in each pod.
"""

import asyncio
import ipaddress
import re
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import httptools

from podpass.errors import Error, SettingsError
from podpass.http.request_validation import Headers

MAX_HEAD_BYTES = 64 * 1024
# A peer that does not answer close_notify must not keep the connection open.
_TLS_SHUTDOWN_SECONDS = 1.0
# No line break and no space: otherwise a part of a URL would become a header or a request.
_TARGET = re.compile(r"/[!-~]*")
_HOST = re.compile(r"[0-9A-Za-z._:-]+")
_METHOD = re.compile(r"[A-Z]{1,32}")
_CONNECTED = re.compile(rb"HTTP/1\.[01] 200[ \r]")
_NO_BODY = {b"HEAD"}


class RequestFailed(Error):
    """The server sent no usable response."""

    code = "request_failed"
    status = 502


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProxy:
    """A proxy for TLS connections; `credentials` is `user:password`, or empty."""

    host: str
    port: int
    credentials: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServer:
    """The server of a request.

    `tls` is None for plain HTTP. `server_name` is the name in the TLS handshake if it is not `host`.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    proxy: HttpProxy | None = None

    @property
    def authority(self) -> str:
        """Return host and port for the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A complete response; header names as the server wrote them."""

    status: int
    headers: Headers
    body: bytes


async def send_request(
    server: HttpServer, method: str, target: str, headers: Headers, body: bytes, *, max_bytes: int
) -> HttpResponse:
    """Send one request and return its response, without following redirects; the caller limits the time.

    Host, Content-Length and Connection are added to `headers`. Raises RequestFailed; OSError and ssl.SSLError
    of the connection.
    """
    head = _serialize_head(server, method, target, headers, len(body))
    loop = asyncio.get_running_loop()
    exchange = _Exchange(head + body, method.encode(), max_bytes, loop.create_future())
    try:
        transport = await _connect(loop, server, exchange)
        try:
            return await exchange.response
        finally:
            transport.close()
    finally:
        _discard(exchange.response)


def _serialize_head(
    server: HttpServer, method: str, target: str, headers: Headers, length: int
) -> bytes:
    if not (
        _METHOD.fullmatch(method) and _TARGET.fullmatch(target) and _HOST.fullmatch(server.host)
    ):
        raise RequestFailed("the address of the request contains invalid characters")
    lines = [f"{method} {target} HTTP/1.1\r\nHost: {server.authority}".encode()]
    for name, value in headers:
        if b"\n" in name + value or b"\r" in name + value:
            raise RequestFailed("a header of the request contains a line break")
        lines.append(name + b": " + value)
    if length or method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d" % length)
    lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def _connect(
    loop: asyncio.AbstractEventLoop, server: HttpServer, exchange: "_Exchange"
) -> asyncio.Transport:
    name = server.server_name or server.host
    if server.proxy is None:
        transport, _ = await loop.create_connection(
            lambda: exchange,
            server.host,
            server.port,
            ssl=server.tls,
            server_hostname=name if server.tls else None,
            ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS if server.tls else None,
        )
        return transport
    assert server.tls is not None, "a proxy is supported for TLS only"
    tunnel = _Tunnel(server, server.proxy, loop.create_future())
    try:
        raw, _ = await loop.create_connection(lambda: tunnel, server.proxy.host, server.proxy.port)
    except BaseException as exc:
        _discard(tunnel.opened)  # a cancelled caller may have an open connection, which ends later
        if isinstance(exc, OSError):
            message = f"the proxy {server.proxy.host} cannot be reached: {exc}"
            raise RequestFailed(message) from exc
        raise
    try:
        await tunnel.opened
        encrypted = await loop.start_tls(
            raw,
            exchange,
            server.tls,
            server_hostname=name,
            ssl_shutdown_timeout=_TLS_SHUTDOWN_SECONDS,
        )
    except BaseException:
        raw.abort()
        raise
    finally:
        _discard(tunnel.opened)
    transport = cast("asyncio.Transport", encrypted)
    exchange.connection_made(transport)
    return transport


def _discard(future: "asyncio.Future[Any]") -> None:
    """Mark a result as read: after a failed handshake no caller waits for it."""
    if not future.cancel() and not future.cancelled():
        future.exception()


class _Tunnel(asyncio.Protocol):
    """Opens a tunnel through a proxy."""

    def __init__(self, server: HttpServer, proxy: HttpProxy, opened: asyncio.Future[None]) -> None:
        host = f"[{server.host}]" if ":" in server.host else server.host
        target = f"{host}:{server.port}"
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
        if proxy.credentials:
            encoded = b64encode(proxy.credentials.encode()).decode()
            head += f"Proxy-Authorization: Basic {encoded}\r\n"
        self._head = f"{head}\r\n".encode()
        self._received = b""
        self.opened = opened

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._head)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self.opened.done():
            return
        if b"\r\n\r\n" in self._received:
            if _CONNECTED.match(self._received):
                self.opened.set_result(None)
            else:
                status = self._received[9:12].decode("ascii", "replace")
                self.opened.set_exception(
                    RequestFailed(f"the proxy refused the connection: status {status!r}")
                )
        elif len(self._received) > MAX_HEAD_BYTES:
            self.opened.set_exception(RequestFailed("the response of the proxy is too long"))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(exc or RequestFailed("the proxy closed the connection"))


class _Exchange(asyncio.Protocol):
    """Sends one request and collects its response."""

    def __init__(
        self, request: bytes, method: bytes, max_bytes: int, response: asyncio.Future[HttpResponse]
    ) -> None:
        self._request = request
        self._has_body = method not in _NO_BODY
        self._max_bytes = max_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._unread = 0  # bytes of the head so far
        self._is_head_complete = False
        self.response = response

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.response.done():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("the response is not HTTP/1.1")
            return
        if not self._is_head_complete:
            self._unread += len(data)
            if self._unread > MAX_HEAD_BYTES:
                self._fail(f"the head of the response is longer than {MAX_HEAD_BYTES} bytes")

    def connection_lost(self, exc: Exception | None) -> None:
        if self.response.done():
            return
        if exc is None and self._is_head_complete and not self._is_framed():
            self._complete()  # the end of the connection is the end of such a body
        else:
            self._fail("the server closed the connection before its response was complete")

    # Callbacks of the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_head_complete:
            self._headers.append((name, value.strip()))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self._is_head_complete = True
            if not self._has_body:
                self._complete()

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > self._max_bytes:
            self._fail(f"the response is longer than {self._max_bytes} bytes")

    def on_message_complete(self) -> None:
        if self._is_head_complete:
            self._complete()
        else:
            self._headers.clear()  # an interim response

    def _is_framed(self) -> bool:
        framing = {b"content-length", b"transfer-encoding"}
        return any(name.lower() in framing for name, _ in self._headers)

    def _complete(self) -> None:
        if not self.response.done():
            self.response.set_result(
                HttpResponse(
                    status=self._parser.get_status_code(),
                    headers=tuple(self._headers),
                    body=bytes(self._body),
                )
            )

    def _fail(self, message: str) -> None:
        if not self.response.done():
            self.response.set_exception(RequestFailed(message))


def choose_proxy(host: str, port: int, *, https_proxy: str, no_proxy: str) -> HttpProxy | None:
    """Return the proxy for a host by the values of HTTPS_PROXY and NO_PROXY; None for no proxy.

    Raises SettingsError.
    """
    if not https_proxy or _bypasses(no_proxy, host, port):
        return None
    return _parse_proxy(https_proxy)


def _parse_proxy(url: str) -> HttpProxy:
    problem = "HTTPS_PROXY must be an http URL with a host: http://proxy.example:8080"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        raise SettingsError([problem]) from None
    if parts.scheme != "http" or not parts.hostname or port == 0:
        raise SettingsError([problem])
    credentials = ""
    if parts.username:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return HttpProxy(host=parts.hostname, port=port or 80, credentials=credentials)


def _bypasses(no_proxy: str, host: str, port: int) -> bool:
    """Return whether NO_PROXY contains a host: `*`, a name, a suffix, an address, a network."""
    return any(
        _matches(entry.strip().lower(), host.lower(), port)
        for entry in no_proxy.split(",")
        if entry.strip()
    )


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if address := _parse_address(host):
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            pass
    name, _, only = entry.rpartition(":") if re.search(r":[0-9]+\Z", entry) else (entry, "", "")
    if only and int(only) != port:
        return False
    name = name.strip("[]").removeprefix("*").removeprefix(".")
    return host == name or (bool(name) and host.endswith(f".{name}"))


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
