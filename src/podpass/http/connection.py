"""One client's connection: uvicorn's protocol with bounds of ours, and a short way for small POSTs.

An application may have a second door beside ASGI, `quick`. It is shown each small POST that came whole, and
either makes the whole answer or declines, and then the request goes through ASGI as any other does. Both
ways read the same bytes with the same parser, bounds and times, one answer after the other.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from podpass.http import proxy_headers, request_validation

_log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Headers = request_validation.Headers

QUICK_BYTES = 64 * 1024
# Requests sent ahead of the answer to one before them. No client that we know of sends any.
MAX_WAITING = 32


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer.

    Shapes:  header names in lower case, without the length.
    """

    status: int
    headers: Headers
    body: bytes


Quick = Callable[[Scope, bytes], Coroutine[Any, Any, Reply] | None]
"""Takes a POST's scope and whole body; declines with None, and has then done nothing."""


Hears = Callable[[str], bool]
"""Tells of a peer's address whether another request of it is worth reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much and how long a client may take to send a request; answers may take as long as they like.

    Shapes:  `head_bytes` bounds the trailer of a chunked body too.
    Units:   `head_seconds` from a connection, or the first byte of a later request, to the end of that
             request's head; `body_seconds` without a byte of the body, and for the whole of it, with a
             second more for each `body_rate` bytes of it; `connections` at a time.
    """

    head_bytes: int = 64 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_rate: float = 1024.0
    connections: int = 4096


LIMITS = Limits()


class Config(uvicorn.Config):
    """uvicorn's configuration, with what is ours."""

    limits = LIMITS
    quick: Quick | None = None
    proxies: Sequence[proxy_headers.Network] = ()
    hears: Hears | None = None


_VERSIONS = ("1.1", "1.0")
# A target that reads the same to everybody: a path and perhaps a query, nothing escaped in the path.
_PLAIN = re.compile(rb"/[\w.~/-]*(\?[!-~]*)?")
_IDLE, _HEAD, _BODY, _REFUSED = range(4)
_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)
_FAILED = Reply(500, ((b"content-type", b"text/plain; charset=utf-8"),), b"Internal Server Error")


class _Turn(RequestResponseCycle):
    """A request that takes the short way: of uvicorn's cycle, only what its protocol asks for."""

    message_event = asyncio.Event()  # nobody waits for it
    task: asyncio.Task[None]

    def __init__(self, *, keep_alive: bool) -> None:
        self.body = bytearray()
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_complete = False


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, which also bounds what it reads and tells the client's certificate (DER).

    uvicorn times only a connection that waits for another request, and holds a head of any length: a
    head sent by the byte would hold its connection for ever, one sent by the megabyte all memory.

    One timer a connection, not one a request: it is moved only when it fires, or when it would fire late.
    """

    _phase = _IDLE
    _unread = 0  # bytes that came since the parser last gave us something whole
    _body_began, _body_bytes = 0.0, 0
    _trailer = 0  # bytes of fields that came after the body
    _due: float | None = None
    _timer: asyncio.TimerHandle | None = None
    _turn: _Turn | None = None  # the request being read, if it may take the short way
    asked = False  # whether a whole request has come
    on_lost: Callable[[], None] | None = None

    # What the transport tells

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        assert isinstance(self.config, Config)
        # As it is now: since this was made, a handshake has passed, and a stop may have begun.
        self.app: Any = self.config.loaded_app
        self._limits, self._quick = self.config.limits, self.config.quick
        tls = transport.get_extra_info("ssl_object")
        self._certificate = None if tls is None else tls.getpeercert(binary_form=True)
        peer = self.client[0] if self.client else ""
        self._proxies = self.config.proxies
        self._is_proxy = proxy_headers.is_trusted(peer, self._proxies)
        self._peer, self._hears = peer, self.config.hears
        if len(self.connections) > self._limits.connections:
            transport.abort()
        else:
            self._expect(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due, self._phase, self._turn = None, _REFUSED, None
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost()

    def answer_once_more(self, app: Any) -> None:
        """Answer the next request through this application, which should then close the connection."""
        self.app = app
        if self._turn is None:
            self._quick = None
        else:
            self._turn.keep_alive = False  # it is being read: its answer is the last

    def data_received(self, data: bytes) -> None:
        if self._phase == _REFUSED:
            return
        if self._phase == _IDLE and self._hears is not None and not self._hears(self._peer):
            # Who was shut out while its connection was kept is shut out here too, at the same price.
            self._phase = _REFUSED
            self.transport.abort()
            return
        self._unread += len(data)
        super().data_received(data)
        if self._phase != _REFUSED and self._unread > self._limits.head_bytes:
            self._refuse()
        elif self._phase == _IDLE and self._due is not None and self._answered():
            # A bare line break begins no request, and gains no more time than a head has.
            self._expect(min(self._limits.head_seconds, self._due - self.loop.time()))

    # What the parser tells

    def on_message_begin(self) -> None:
        if self._phase == _REFUSED:
            return
        if len(self.pipeline) >= MAX_WAITING:
            # Each takes forty times the memory it was sent in, and one read may bring a thousand of them.
            self._phase = _REFUSED
            self.transport.abort()
            return
        self._phase, self._trailer = _HEAD, 0
        self._expect(self._limits.head_seconds)
        super().on_message_begin()
        if self.scheme == "https":
            self.scope["extensions"] = {"tls": {"client_cert": self._certificate}}

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase == _HEAD:
            # The parser leaves blanks at the end, which belong to no value: a host with one would be another.
            super().on_header(name, value.rstrip(b" \t"))
            return
        if self._phase == _REFUSED:
            return
        # A trailer's field is no header: whoever judged the head before us, as a proxy that strips fields
        # does, never saw it.
        self._trailer += len(name) + len(value) + 4
        if self._trailer > self._limits.head_bytes:
            self._refuse()

    def on_headers_complete(self) -> None:
        # Rarely counted: what came is most often less than the limit as a whole.
        if self._unread > self._limits.head_bytes and self._head_size() > self._limits.head_bytes:
            self._refuse()
        elif self.parser.get_http_version() not in _VERSIONS:
            # HTTP/0.9 has no head: what a proxy before us takes for one request would be another here.
            self._phase = _REFUSED
            self.transport.close()
        elif answer := request_validation.objection(
            self.headers, self.parser.get_http_version(), upgrades=self.parser.should_upgrade()
        ):
            self._refuse(answer)
        if self._phase == _REFUSED:
            return
        self._phase, self._unread, self._body_bytes = _BODY, 0, 0
        self._expect(self._limits.body_seconds)
        self._body_began = self.loop.time()
        if self._is_proxy and self.client is not None:
            peer, port = self.client
            source = proxy_headers.source(peer, self.headers, self._proxies)
            self.scope["client"] = (source, port)
        if self._may_be_quick():
            self.cycle = self._turn = _Turn(keep_alive=self.parser.should_keep_alive())
        else:
            super().on_headers_complete()
            if self.parser.should_upgrade():
                self.cycle.keep_alive = False  # what follows would be read by other rules

    def on_body(self, body: bytes) -> None:
        if self._phase != _BODY:
            return
        self._unread = 0
        self._body_bytes += len(body)
        limits, now = self._limits, self.loop.time()
        # A byte at a time would hold the connection for weeks.
        whole = self._body_began + limits.body_seconds + self._body_bytes / limits.body_rate
        self._due = min(now + limits.body_seconds, whole)
        if self._turn is None:
            super().on_body(body)
        else:
            self._turn.body += body
            if len(self._turn.body) > QUICK_BYTES:
                self._take_long_way(self._turn)

    def on_message_complete(self) -> None:
        if self._phase != _BODY:
            return
        self._phase, self._unread, self._due = _IDLE, 0, None
        self.asked = True
        if self._turn is not None:
            self._ask(self._turn)
        else:
            if self.parser.should_upgrade():
                self._phase = _REFUSED
            super().on_message_complete()

    # The short way

    def _may_be_quick(self) -> bool:
        """Tell whether a head is a plain POST's, with no answer before it still to be given."""
        return (
            self._quick is not None
            and self._answered()
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self.parser.should_upgrade()
            and _PLAIN.fullmatch(self.url) is not None
        )

    def _ask(self, turn: _Turn) -> None:
        assert self._quick is not None
        raw_path, _, query = self.url.partition(b"?")
        scope = cast("Scope", self.scope)
        scope["method"], scope["path"] = "POST", raw_path.decode("ascii")
        scope["raw_path"], scope["query_string"] = raw_path, query
        reply = self._quick(scope, bytes(turn.body))
        if reply is None:
            self._take_long_way(turn)
            super().on_message_complete()
            return
        self._turn = None
        turn.task = self.loop.create_task(self._answer(turn, reply))
        self.tasks.add(turn.task)

    def _take_long_way(self, turn: _Turn) -> None:
        """Let uvicorn make of head and body what it would have made of them when they came."""
        self._turn = None
        turn.response_complete = True
        super().on_headers_complete()
        self.cycle.keep_alive = self.cycle.keep_alive and turn.keep_alive
        super().on_body(bytes(turn.body))

    async def _answer(self, turn: _Turn, coming: Coroutine[Any, Any, Reply]) -> None:
        try:
            written = _written(await coming, keep_alive=turn.keep_alive)
            while self.flow.write_paused and not turn.disconnected:
                await self.flow.drain()
        except asyncio.CancelledError:  # told to stop, and there was no time left
            self.transport.abort()
            raise
        except Exception:  # noqa: BLE001 as uvicorn does for an application
            _log.exception("quick_answer_failed")
            turn.keep_alive = False
            written = _written(_FAILED, keep_alive=False)
        finally:
            self.tasks.discard(turn.task)
        if not turn.disconnected:
            # A whole answer in one write is one TLS record and one packet.
            self.transport.write(written)
            turn.response_complete = True
            if not turn.keep_alive:
                self.transport.close()
            self.on_response_complete()

    def on_response_complete(self) -> None:
        """Go on with what was asked meanwhile, or wait for more as long as a connection is kept."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._phase == _IDLE:
            self._expect(self.timeout_keep_alive)

    # Bounds

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, answer: bytes = _TOO_LONG) -> None:
        in_head = self._phase != _BODY and self._answered()
        self._phase = _REFUSED
        if in_head and not self.transport.is_closing():
            status = int(answer[9:12])
            _log.debug("head_refused", extra={"source": self._peer, "status": status})
            self.transport.write(answer)
        self.transport.close()

    def _expect(self, seconds: float) -> None:
        """Give the client so long for what is awaited now."""
        self._due = due = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._due is None or self.transport.is_closing():
            return
        # Not the client's fault: we stopped reading, or the head was sent ahead of an answer.
        waits = self.flow.read_paused or (self._phase != _BODY and not self._answered())
        now = self.loop.time()
        if waits:
            self._due = max(self._due, now + self._limits.head_seconds)
        if now < self._due:
            self._timer = self.loop.call_at(self._due, self._look)
        elif self._phase == _IDLE and self.cycle is not None:
            self.transport.close()
        else:
            self.transport.abort()


def _written(reply: Reply, *, keep_alive: bool) -> bytes:
    lines = [STATUS_LINE[reply.status][:-2], *map(b": ".join, reply.headers)]
    lines.append(b"content-length: %d" % len(reply.body))
    if not keep_alive:
        lines.append(b"connection: close")
    head = b"\r\n".join(lines)
    # A value with a line break in it would be a header of its sender's choice.
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise RuntimeError("a line break in a header of an answer")
    return b"%b\r\n\r\n%b" % (head, reply.body)
