"""The HTTP edge of the console: checks each request, and serves pages, files and the event stream."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from podpass.console import live, pages, texts
from podpass.console.access import ConsoleAccess
from podpass.console.fixes import KnownObjects
from podpass.console.live import LiveView
from podpass.console.model import ConsoleSource
from podpass.console.pages import MAX_ROWS, PageContext
from podpass.console.request_checks import (
    is_expected_host,
    is_from_other_site,
    is_own_origin,
    read_cookie,
)
from podpass.console.responses import HTML, TEXT, Response, static_response, text_response
from podpass.console.timeline import MAX_EXCHANGES
from podpass.errors import Error
from podpass.http.server import (
    BodyTooLarge,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    respond,
)

_log = logging.getLogger(__name__)

MAX_STREAMS = 32
_MAX_FORM_BYTES = 2048
_MAX_QUERY_BYTES = 500
_LANGUAGE_COOKIE = "podpass-language"
_YEAR_SECONDS = 31_536_000
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_PROTECTION: Headers = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    # Not `no-referrer`: with it, the Origin header of a form is `null`.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
_UNAVAILABLE = "The console is unavailable: {}. Reload this page later.\n"
_NO_STORE = (b"cache-control", b"no-store")
_SVG = (b"content-type", b"image/svg+xml")
# A picture may have style attributes; opened as a page, it can do nothing.
_PICTURE_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; sandbox"


class ConsoleApp:
    """The ASGI application of a console.

    `base` is the path of all pages, without a trailing slash; `hosts` are the accepted values of the Host
    header, in lower case.
    """

    def __init__(
        self,
        source: ConsoleSource,
        access: ConsoleAccess,
        *,
        base: str,
        scheme: str,
        hosts: frozenset[str],
    ) -> None:
        self._source, self._access = source, access
        self._base, self._scheme, self._hosts = base, scheme, hosts
        self._live = LiveView(source)
        self._streams = 0
        self._stopping = asyncio.Event()

    def close(self) -> None:
        """End the event streams, so that the server can stop."""
        self._stopping.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            refusal = self._check(scope) or await self._admit(scope, receive)
            if refusal is None and self._is_stream(scope):
                await self._stream(scope, receive, send)
                return
            status, body, headers = refusal or await self._respond(scope, receive)
        except Error as exc:
            # Without its store, an authority cannot authenticate the user.
            _log.warning("console_data_unavailable", extra={"code": exc.code})
            status, body, headers = text_response(503, _UNAVAILABLE.format(exc.message))
        except Exception as exc:  # noqa: BLE001 a bug is logged, and its response has no details
            _log.error("console_request_failed", exc_info=exc)
            status, body, headers = 500, b"The console failed. The log has the cause.\n", (TEXT,)
        await _send(send, scope, status, body, headers)

    def _is_stream(self, scope: Scope) -> bool:
        return bool(scope["method"] == "GET" and scope["path"] == f"{self._base}/events")

    def _check(self, scope: Scope) -> Response | None:
        """Return the response to a request that must not reach the console, or None."""
        if not is_expected_host(scope, self._hosts):
            return text_response(421, "This console is served under another host name.\n")
        if is_from_other_site(scope):
            return text_response(403, "A page of another site sent this request.\n")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return text_response(405, "Only GET and POST are served.\n")
        if scope["method"] == "POST" and not is_own_origin(scope, self._scheme, self._hosts):
            return text_response(403, "The request must come from a page of this console.\n")
        return None

    async def _admit(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the response to a request that signs in or has no session, or None."""
        if (entered := await self._access.enter(scope, receive)) is not None:
            return entered
        if not await self._access.is_signed_in(scope):
            return self._access.no_session(scope)
        return None

    async def _respond(self, scope: Scope, receive: Receive) -> Response:
        path = scope["path"]
        if not path.startswith(f"{self._base}/"):
            return text_response(404, "The console has no such page.\n")
        rest = path.removeprefix(f"{self._base}/")
        if scope["method"] == "POST":
            return await self._post(rest, scope, receive)
        if rest.startswith("static/"):
            return static_response(rest.removeprefix("static/"))
        context = self._context(scope)
        name, _, argument = rest.partition("/")
        view = name or self._source.views[0]
        if name == "graph.svg" and "graph" in self._source.views:
            return await self._picture()
        if view not in self._source.views or (argument and view != "exchanges"):
            return text_response(404, "The console has no such page.\n")
        try:
            await self._source.refresh()
            if argument:
                return await self._exchange(context, argument, scope)
            return await self._page(context, view, path, _query(scope, "pod"))
        except Error as exc:
            _log.warning("console_data_unavailable", extra={"code": exc.code, "view": view})
            page = self._render(context, view, path, template="unavailable", text=exc.message)
            return 503, page, (HTML,)

    async def _page(self, context: PageContext, view: str, path: str, pod: str) -> Response:
        # Read the revision before the data, so that later changes are in the next message.
        seen = await self._live.revision(view)
        known = await self._live.known_objects()
        values = await self._read(view, pod, known)
        page = self._render(context, view, path, seen=seen, names=known.names, **values)
        return 200, page, (HTML,)

    async def _read(self, view: str, pod: str, known: KnownObjects) -> dict[str, Any]:
        """Return the values of a view's template."""
        timeline, limit = self._source.timeline, MAX_ROWS.get(view, 0)
        readers: Mapping[str, Callable[[], Awaitable[Any]]] = {
            "pods": self._source.pods,
            "identities": self._source.identities,
            "audit": self._source.audit,
        }
        if view in readers:
            return {"listing": await readers[view]()}
        if view == "graph":
            return {"graph": await self._source.graph()}
        if view == "refusals":
            return {"refusals": pages.group_refusals(timeline.refusals, known, limit)}
        pod = pod if view == "exchanges" else ""
        return {
            "stages": pages.stage_rows(timeline),
            "exchanges": pages.exchange_rows(timeline.newest(limit, pod=pod)),
            "max_rows": limit,
            "pod": pod,
        }

    async def _exchange(self, context: PageContext, argument: str, scope: Scope) -> Response:
        """Return an exchange as a page, or only its hops for a line that is opened."""
        number, _, part = argument.partition("/")
        if part == "hops" and _query(scope, "run") not in ("", self._live.run):
            # A number of another run, or of another replica, has another meaning here.
            return 200, pages.render_part(context, "elsewhere").encode(), (HTML,)
        found = self._source.timeline.exchange(int(number)) if _is_number(number) else None
        names = (await self._live.known_objects()).names
        values: dict[str, Any] = {"number": 0} if found is None else pages.hop_values(found)
        values |= {"names": names}
        if part == "hops" and found is not None:
            return 200, pages.render_part(context, "hops", **values).encode(), (HTML,)
        if part and part != "hops":
            return text_response(404, "The console has no such page.\n")
        page = self._render(
            context,
            "exchanges",
            f"{self._base}/exchanges",
            template="exchange",
            max_exchanges=MAX_EXCHANGES,
            who=pages.describe_caller(found.hop) if found else "",
            **values,
        )
        return 200 if found else 404, page, (HTML,)

    async def _picture(self) -> Response:
        found = await self._source.graph()
        if found is None:
            return text_response(404, "The trust graph is not available.\n")
        policy = (b"content-security-policy", _PICTURE_POLICY)
        return 200, found.svg.encode("utf-8", "replace"), (_SVG, policy)

    async def _post(self, rest: str, scope: Scope, receive: Receive) -> Response:
        if rest not in ("language", "sign-out"):
            return text_response(405, "This page is only for reading.\n")
        try:
            body = await read_body(receive, _MAX_FORM_BYTES)
        except BodyTooLarge:
            return text_response(413, "The form is too long.\n")
        if rest == "sign-out":
            return await self._access.sign_out(scope)
        form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
        return self._set_language(form.get("language", [""])[0], form.get("back", [""])[0])

    def _set_language(self, language: str, back: str) -> Response:
        name = back.removeprefix(f"{self._base}/").partition("?")[0]
        target = name if name in self._source.views[1:] else ""
        location = (b"location", f"{self._base}/{target}".encode())
        if language not in texts.LANGUAGES:
            return text_response(400, "The console has no texts in this language.\n")
        cookie = (
            f"{_LANGUAGE_COOKIE}={language}; Path={self._base}/; Max-Age={_YEAR_SECONDS}; "
            "HttpOnly; SameSite=Strict"
        )
        return 303, b"", (TEXT, location, (b"set-cookie", cookie.encode()))

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._streams >= MAX_STREAMS:
            await _send(send, scope, 503, b"Too many pages are open.\n", (TEXT,))
            return
        view = _query(scope, "view")
        after = header(scope, b"last-event-id") or _query(scope, "after")
        self._streams += 1
        try:
            await self._live.stream(
                send,
                self._context(scope),
                view if view in self._source.views else self._source.views[0],
                self._live.parse(after),
                _query(scope, "seen"),
                live.wait_for_end(
                    receive, self._stopping, lambda: self._access.is_signed_in(scope)
                ),
                _query(scope, "pod"),
            )
        finally:
            self._streams -= 1

    def _context(self, scope: Scope) -> PageContext:
        accept = header(scope, b"accept-language") or ""
        language = texts.choose_language(read_cookie(scope, _LANGUAGE_COOKIE), accept)
        return PageContext(
            base=self._base,
            title=self._source.title,
            views=self._source.views,
            t=texts.load(language),
            commands=self._source.commands,
            run=self._live.run,
            has_sign_in=self._access.has_sign_in,
        )

    def _render(self, context: PageContext, view: str, path: str, **values: Any) -> bytes:
        values.setdefault("seen", "")
        return pages.render(context, view, path, cursor=self._live.cursor(), **values)


def _query(scope: Scope, name: str) -> str:
    """Return a parameter of the query; empty if the request has none."""
    text = scope["query_string"].decode("latin-1")[:_MAX_QUERY_BYTES]
    values: list[str] = parse_qs(text, max_num_fields=8).get(name, [""])
    return values[0]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 15


async def _send(send: Send, scope: Scope, status: int, body: bytes, headers: Headers) -> None:
    """Send a response with the headers that protect every response."""
    own = {name for name, _ in headers}
    protection = [each for each in (*_PROTECTION, _NO_STORE) if each[0] not in own]
    await respond(send, status, b"" if scope["method"] == "HEAD" else body, (*headers, *protection))
