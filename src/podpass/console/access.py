"""Who may use the console of a local instance: a browser that redeemed a one-time link."""

from html import escape
from typing import Protocol

from podpass.clock import Clock
from podpass.console.request_checks import is_prefetch, read_cookie
from podpass.console.responses import HTML, Response, text_response
from podpass.console.sessions import SESSION_SECONDS, Sessions
from podpass.http.server import Receive, Scope

COOKIE = "podpass-console"
LINK_PATH = "/open/"
_LINK_HOLDER = "the holder of the link"
NO_SESSION = (
    "The console needs a one-time link: run `podpass console` and open the link that it prints.\n"
)
_LINK_USED = (
    "This link was used or has expired: run `podpass console` and open the link that it prints.\n"
)


class ConsoleAccess(Protocol):
    """Decides who may use a console."""

    @property
    def has_sign_in(self) -> bool:
        """Return whether a session begins with a sign-in instead of a link."""

    async def is_signed_in(self, scope: Scope) -> bool:
        """Return whether a request belongs to a session."""

    async def enter(self, scope: Scope, receive: Receive) -> Response | None:
        """Return the response to a request that signs in; None if the request does something else."""

    def no_session(self, scope: Scope) -> Response:
        """Return the response to a request without a session."""

    async def sign_out(self, scope: Scope) -> Response:
        """End the session of a request."""


class LinkAccess:
    """Admits requests with the cookie of a session, which a one-time link gives.

    `base` is the path of all pages. Browsers send a cookie to every port of a host, but only to its path;
    `base` cannot be guessed, so other local services do not receive the cookie.
    """

    has_sign_in = False

    def __init__(self, base: str, clock: Clock) -> None:
        self._base = base
        self._sessions: Sessions[str] = Sessions(clock)

    def create_link(self) -> str:
        """Return the path of a new one-time link."""
        return LINK_PATH + self._sessions.create_link(_LINK_HOLDER)

    async def is_signed_in(self, scope: Scope) -> bool:
        """Return whether a request has the cookie of a session."""
        return self._sessions.is_signed_in(read_cookie(scope, COOKIE))

    async def enter(self, scope: Scope, receive: Receive) -> Response | None:
        """Redeem the link that a request opens."""
        del receive
        if not scope["path"].startswith(LINK_PATH):
            return None
        if scope["method"] != "GET" or is_prefetch(scope):
            return text_response(403, "Only a browser that opens the link can use it.\n")
        session = self._sessions.redeem(scope["path"].removeprefix(LINK_PATH))
        if session is None:
            return text_response(403, _LINK_USED)
        # Not a redirect: if another page had the link, a browser would omit the strict cookie after it.
        target = escape(f"{self._base}/")
        page = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>podpass console</title>'
            f'<link rel="icon" href="{target}static/icon.svg">'
            f'<meta http-equiv="refresh" content="0;url={target}"></head>'
            f'<body><p><a href="{target}">podpass console</a></p></body></html>'
        )
        return 200, page.encode(), (HTML, self._cookie(session, SESSION_SECONDS))

    def no_session(self, scope: Scope) -> Response:
        """Return the response to a request without a session."""
        del scope
        return text_response(401, NO_SESSION)

    async def sign_out(self, scope: Scope) -> Response:
        """End the session of a request."""
        self._sessions.end(read_cookie(scope, COOKIE))
        status, body, headers = text_response(200, NO_SESSION)
        return status, body, (*headers, self._cookie("", 0))

    def _cookie(self, value: str, seconds: int) -> tuple[bytes, bytes]:
        text = f"{COOKIE}={value}; Path={self._base}/; Max-Age={seconds}; HttpOnly; SameSite=Strict"
        return b"set-cookie", text.encode()
