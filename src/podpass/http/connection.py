"""The HTTP protocol of one connection: uvicorn's, with limits and a fast path for small POST requests.

An application may have a method `fast_path` next to its ASGI interface. The connection calls it with each
small request of one method that has arrived completely: POST, or the application's `fast_path_method`. Its
body has at most 64 KiB, or the application's `fast_path_max_bytes`. The method either returns the complete
response, or declines; then the request takes the ASGI path like any other request. Both paths use the same
parser, limits and timeouts, and send responses in the order of the requests.
"""

import asyncio
import contextlib
import logging
import re
import socket
import struct
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from typing import Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from podpass.http import proxy_headers, request_validation
from podpass.http.limits import LIMITS
from podpass.http.reply import Reply, serialize
from podpass.http.upgrade import EXTENSION, Upgrade

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]

FAST_PATH_MAX_BYTES = 64 * 1024
# Pipelined requests: sent before the response to an earlier request. No known client sends any.
MAX_PIPELINED = 2
# Close with a reset: the kernel then keeps no state of the connection, not even for TIME_WAIT.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


FastPathHandler = Callable[[Scope, bytes], Coroutine[Any, Any, Reply] | None]
"""Takes scope and body of a POST request; returns None, without any side effect, if it declines."""


AllowRequest = Callable[[str], bool]
"""Takes the address of a peer; returns whether another request of it is read."""


class Config(uvicorn.Config):
    """uvicorn's configuration with the settings of `Connection`."""

    limits = LIMITS
    fast_path: FastPathHandler | None = None
    fast_path_method = b"POST"
    fast_path_max_bytes = FAST_PATH_MAX_BYTES
    proxies: Sequence[proxy_headers.Network] = ()
    allow_request: AllowRequest | None = None


_VERSIONS = ("1.1", "1.0")
# A target that every parser reads in the same way: a path without escapes, and an optional query.
_PLAIN = re.compile(rb"/[\w.~/-]*(\?[!-~]*)?")
_IDLE, _HEAD, _BODY, _REFUSED = range(4)
_FAILED = Reply(500, ((b"content-type", b"text/plain; charset=utf-8"),), b"Internal Server Error")


class _FastPathRequest(RequestResponseCycle):
    """A request on the fast path, with the attributes of uvicorn's request cycle that its protocol reads."""

    message_event = asyncio.Event()  # has no waiter
    task: asyncio.Task[None]

    def __init__(self, *, keep_alive: bool) -> None:
        self.body = bytearray()
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_complete = False


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits on requests, and with the client's certificate (DER) in the scope.

    uvicorn has a timeout only for an idle connection, and buffers a head of any length: a client that
    sends a head byte by byte would keep its connection without limit, and a long head would use all memory.

    There is one timer per connection. It is rescheduled only when it fires, or if it would fire too late.
    """

    _phase = _IDLE
    _unread = 0  # bytes since the parser last returned a complete part
    _body_began, _body_bytes = 0.0, 0
    _trailer = 0  # bytes of the fields after the body
    _deadline: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None  # the request whose response is next
    _reading: _FastPathRequest | None = None  # the current request, if it may use the fast path
    sock: Any = None
    relayed_client: tuple[str, int] | None = None  # the client, if the peer only relays its bytes
    has_request = False  # whether a complete request has arrived
    on_lost: Callable[[], None] | None = None
    _lost: asyncio.Future[None] | None = None
    _upgrade: Upgrade | None = None  # the offer to a client that requests another protocol

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Read the configuration, and start the timer of the first head."""
        super().connection_made(transport)
        assert isinstance(self.config, Config)
        # The configuration is read now and not in `__init__`: a stop may have begun during the handshake.
        self.app: Any = self.config.loaded_app
        self._limits, self._fast_path = self.config.limits, self.config.fast_path
        transport.set_write_buffer_limits(high=self._limits.write_bytes)
        self._fast_method = self.config.fast_path_method
        self._fast_max_bytes = self.config.fast_path_max_bytes
        tls = transport.get_extra_info("ssl_object")
        self._certificate = None if tls is None else tls.getpeercert(binary_form=True)
        if self.relayed_client is not None:
            self.client = self.relayed_client
        if self.client is not None:
            self.client = (proxy_headers.unmap_ipv4(self.client[0]), self.client[1])
        peer = self.client[0] if self.client else ""
        self._proxies = self.config.proxies
        self._is_proxy = proxy_headers.is_trusted(peer, self._proxies)
        self.peer, self._allow_request = peer, self.config.allow_request
        if len(self.connections) > self._limits.connections:
            transport.abort()
        else:
            self._set_deadline(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, and report the end of the connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadline, self._phase, self._reading = None, _REFUSED, None
        super().connection_lost(exc)
        if (running := self._running) is not None and not running.response_complete:
            # uvicorn reports a disconnect to the last pipelined request only; this one would wait forever.
            running.disconnected = True
            running.message_event.set()
        # Without reference cycles, memory is released now and not at the next garbage collection.
        self.pipeline.clear()
        self.cycle = self._running = None  # type: ignore[assignment]
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    def wait_lost(self) -> asyncio.Future[None]:
        """Return a future that is done when the connection is lost."""
        if self._lost is None:
            self._lost = self.loop.create_future()
        return self._lost

    def reset(self) -> None:
        """Disconnect a client that does not read: the kernel would keep its data for minutes."""
        if self.sock is not None:
            with contextlib.suppress(OSError):  # it is closed already
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.transport.abort()

    def close_after_next_response(self, app: Any) -> None:
        """Serve the next request with this application, whose response ends the connection."""
        self.app = app
        if self._reading is None:
            self._fast_path = None
        else:
            self._reading.keep_alive = False  # the response to this request is the last one

    def shutdown(self) -> None:
        """Close an idle or upgraded connection; any other one is closed after its response."""
        if self._upgrade is not None and self._upgrade.is_accepted:
            self.transport.close()
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Parse data, unless the peer's address is blocked or a limit is exceeded."""
        if self._phase == _REFUSED:
            if self._upgrade is not None:
                self._upgrade.add_early(data)
            return
        if (
            self._phase == _IDLE
            and self._allow_request is not None
            and not self._allow_request(self.peer)
        ):
            # An address that was blocked while its connection was open is refused here, at the same low cost.
            self._phase = _REFUSED
            self.transport.abort()
            return
        self._unread += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            if self._upgrade is not None:
                self._upgrade.add_early(data[exc.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if self._phase != _REFUSED and self._unread > self._limits.head_bytes:
            self._reject()
        elif self._phase == _IDLE and self._deadline is not None and self._is_response_complete():
            # An empty line does not start a request, and does not extend the time for the head.
            self._set_deadline(min(self._limits.head_seconds, self._deadline - self.loop.time()))

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        """Start a request, unless too many wait for their response."""
        if self._phase == _REFUSED:
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            # A waiting request needs 40 times the memory of its bytes, and one read may contain a thousand.
            self._phase = _REFUSED
            self.transport.abort()
            return
        self._phase, self._trailer = _HEAD, 0
        self._set_deadline(self._limits.head_seconds)
        super().on_message_begin()
        if self.scheme == "https":
            self.scope["extensions"] = {"tls": {"client_cert": self._certificate}}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store a header; count a field of a trailer and drop it."""
        if self._phase == _HEAD:
            # The parser keeps trailing blanks, which are not part of a value: `x ` would be another host.
            super().on_header(name, value.rstrip(b" \t"))
            if len(self.headers) > self._limits.head_fields:
                self._reject()
            return
        if self._phase == _REFUSED:
            return
        # A field of a trailer is not a header: a proxy that removes headers by name did not check it.
        self._trailer += len(name) + len(value) + 4
        if self._trailer > self._limits.head_bytes:
            self._reject()

    def on_headers_complete(self) -> None:
        """Check the head, and choose the path of the request."""
        # The head is counted only if all unread bytes together exceed the limit.
        if self._unread > self._limits.head_bytes and self._head_size() > self._limits.head_bytes:
            self._reject()
        elif self.parser.get_http_version() not in _VERSIONS:
            # HTTP/0.9 has no head: a proxy in front of the server would read the same bytes as a different
            # request.
            self._phase = _REFUSED
            self.transport.close()
        elif response := request_validation.reject_ambiguous_framing(
            self.headers, self.parser.get_http_version(), upgrades=self.parser.should_upgrade()
        ):
            self._reject(response)
        if self._phase == _REFUSED:
            return
        self._phase, self._unread, self._body_bytes = _BODY, 0, 0
        self._set_deadline(self._limits.body_seconds)
        self._body_began = self.loop.time()
        if self._is_proxy and self.client is not None:
            peer, port = self.client
            source = proxy_headers.client_address(peer, self.headers, self._proxies)
            self.scope["client"] = (source, port)
        if self._is_fast_path_candidate():
            self.cycle = self._reading = _FastPathRequest(
                keep_alive=self.parser.should_keep_alive()
            )
        else:
            super().on_headers_complete()
            if self.parser.should_upgrade():
                self.cycle.keep_alive = False  # later bytes may belong to the other protocol
                self._upgrade = Upgrade(self.transport, self.cycle, self.connection_lost)
                cast("Scope", self.scope).setdefault("extensions", {})[EXTENSION] = self._upgrade

    def on_body(self, body: bytes) -> None:
        """Store a part of the body, and move the deadline within the limits."""
        if self._phase != _BODY:
            return
        self._unread = 0
        self._body_bytes += len(body)
        limits, now = self._limits, self.loop.time()
        # Without this limit, a body that is sent byte by byte would keep the connection for weeks.
        whole = self._body_began + limits.body_seconds + self._body_bytes / limits.body_rate
        self._deadline = min(now + limits.body_seconds, whole)
        if self._reading is None:
            super().on_body(body)
        else:
            self._reading.body += body
            if len(self._reading.body) > self._fast_max_bytes:
                self._fall_back_to_asgi(self._reading)

    def on_message_complete(self) -> None:
        """Pass a complete request to the application."""
        if self._phase != _BODY:
            return
        self._phase, self._unread, self._deadline = _IDLE, 0, None
        self.has_request = True
        if self._reading is not None:
            self._start_fast_path(self._reading)
        else:
            if self.parser.should_upgrade():
                self._phase = _REFUSED
            super().on_message_complete()

    # The fast path

    def _is_fast_path_candidate(self) -> bool:
        """Return whether a head is that of a plain request, and no earlier response is outstanding."""
        return (
            self._fast_path is not None
            and self._is_response_complete()
            and self.parser.get_method() == self._fast_method
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
            and _PLAIN.fullmatch(self.url) is not None
        )

    def _start_fast_path(self, request: _FastPathRequest) -> None:
        assert self._fast_path is not None
        raw_path, _, query = self.url.partition(b"?")
        scope = cast("Scope", self.scope)
        scope["method"], scope["path"] = self._fast_method.decode(), raw_path.decode("ascii")
        scope["raw_path"], scope["query_string"] = raw_path, query
        reply = self._fast_path(scope, bytes(request.body))
        if reply is None:
            self._fall_back_to_asgi(request)
            super().on_message_complete()
            return
        self._reading = None
        request.task = self.loop.create_task(self._respond(request, reply))
        self.tasks.add(request.task)

    def _fall_back_to_asgi(self, request: _FastPathRequest) -> None:
        """Pass head and body to uvicorn, which handles them like new data."""
        self._reading = None
        request.response_complete = True
        super().on_headers_complete()
        self.cycle.keep_alive = self.cycle.keep_alive and request.keep_alive
        super().on_body(bytes(request.body))

    async def _respond(self, request: _FastPathRequest, reply: Coroutine[Any, Any, Reply]) -> None:
        try:
            data = serialize(await reply, keep_alive=request.keep_alive)
            while self.flow.write_paused and not request.disconnected:
                await self.flow.drain()
        except asyncio.CancelledError:  # the grace period of a stop is over
            self.transport.abort()
            raise
        except Exception:  # noqa: BLE001 as uvicorn does for an application
            _log.exception("fast_path_request_failed")
            request.keep_alive = False
            data = serialize(_FAILED, keep_alive=False)
        finally:
            self.tasks.discard(request.task)
        if not request.disconnected:
            # A whole response in one write is one TLS record and one packet.
            self.transport.write(data)
            request.response_complete = True
            if not request.keep_alive:
                self.transport.close()
            self.on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Start the next pipelined request, or wait for one as long as the connection is kept alive."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._phase == _IDLE:
            self._set_deadline(self.timeout_keep_alive)

    # Limits

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _is_response_complete(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _reject(self, response: bytes = request_validation.TOO_LONG) -> None:
        in_head = self._phase != _BODY and self._is_response_complete()
        self._phase = _REFUSED
        if in_head and not self.transport.is_closing():
            facts = {"source": self.peer, "status": int(response[9:12])}
            _log.debug("request_head_rejected", extra=facts)
            self.transport.write(response)
        self.transport.close()

    def _set_deadline(self, seconds: float) -> None:
        """Close the connection if the client does not continue within this time."""
        self._deadline = deadline = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._deadline is None or self.transport.is_closing():
            return
        # Reading is paused, or a response is not complete; `slow_readers` limits how long it is not read.
        is_waiting = self.flow.read_paused or (
            self._phase != _BODY and not self._is_response_complete()
        )
        now = self.loop.time()
        if is_waiting:
            self._deadline = max(self._deadline, now + self._limits.head_seconds)
        if now < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._check_deadline)
        elif self._phase == _IDLE and self.cycle is not None:
            self.transport.close()
        else:
            self.transport.abort()
