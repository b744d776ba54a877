"""Who may use the console of an authority: its administrators, with user name and password."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qs

from podpass.clock import Clock
from podpass.console import pages, texts
from podpass.console.request_checks import read_cookie
from podpass.console.responses import HTML, Response, static_response, text_response
from podpass.console.sessions import SESSION_SECONDS, Sessions
from podpass.errors import Error
from podpass.http.server import BodyTooLarge, Receive, Scope, header, read_body

_log = logging.getLogger(__name__)

# With this prefix, browsers require Secure and Path=/, and no other host can set the cookie.
COOKIE = "__Host-podpass-console"
_MAX_FORM_BYTES = 4096
_RECHECK_SECONDS = 5.0
_PUBLIC_FILES = ("static/console.css", "static/icon.svg")

IsCurrent = Callable[[], Awaitable[bool]]
"""Returns whether a user is an administrator with the password of the sign-in; may raise Error."""

CheckPassword = Callable[[str, str], Awaitable[IsCurrent | None]]
"""Checks the user name and the password of an administrator; None if they are not; may raise Error."""


@dataclass(slots=True)
class _SignedIn:
    """The administrator of a session, and when they were checked last."""

    is_current: IsCurrent
    checked: float


class PasswordAccess:
    """Admits requests with the cookie of a session, which the sign-in form gives."""

    def __init__(self, base: str, check: CheckPassword, clock: Clock) -> None:
        self._base = base
        self._check, self._clock = check, clock
        self._sessions: Sessions[_SignedIn] = Sessions(clock)

    async def is_signed_in(self, scope: Scope) -> bool:
        """Return whether a request has the cookie of a session of a user who is still an administrator.

        A changed password and a deleted user end their sessions within seconds.
        """
        found = self._sessions.owner(read_cookie(scope, COOKIE))
        if found is None:
            return False
        if 0 <= self._clock() - found.checked < _RECHECK_SECONDS:
            return True
        try:
            is_current = await found.is_current()
        except Error as exc:
            _log.info("console_session_refused", extra={"code": exc.code})
            return False
        found.checked = self._clock() if is_current else found.checked
        return is_current

    async def enter(self, scope: Scope, receive: Receive) -> Response | None:
        """Serve the sign-in form, and sign in."""
        rest = scope["path"].removeprefix(f"{self._base}/")
        if rest in _PUBLIC_FILES and scope["method"] != "POST":
            return static_response(rest.removeprefix("static/"))
        if rest != "sign-in":
            return None
        if scope["method"] != "POST":
            return self._form(scope, 200)
        try:
            body = await read_body(receive, _MAX_FORM_BYTES)
        except BodyTooLarge:
            return text_response(413, "The form is too long.\n")
        form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
        is_current = await self._sign_in(form)
        if is_current is None:
            return self._form(scope, 403, fault=True)
        session = self._sessions.open(_SignedIn(is_current, self._clock()))
        cookie = self._cookie(session, SESSION_SECONDS)
        return 303, b"", ((b"location", f"{self._base}/".encode()), cookie)

    async def _sign_in(self, form: dict[str, list[str]]) -> IsCurrent | None:
        name, password = form.get("username", [""])[0], form.get("password", [""])[0]
        try:
            found = await self._check(name, password)
        except Error as exc:
            # The form does not say whether a user exists, is locked, or is no administrator.
            _log.info("console_sign_in_refused", extra={"code": exc.code})
            return None
        _log.info("console_signed_in" if found else "console_sign_in_refused")
        return found

    def no_session(self, scope: Scope) -> Response:
        """Return the sign-in form."""
        return self._form(scope, 401)

    def sign_out(self, scope: Scope) -> Response:
        """End the session of a request."""
        self._sessions.end(read_cookie(scope, COOKIE))
        status, body, headers = self._form(scope, 200)
        return status, body, (*headers, self._cookie("", 0))

    def _form(self, scope: Scope, status: int, *, fault: bool = False) -> Response:
        language = texts.choose_language("", header(scope, b"accept-language") or "")
        page = pages.render_sign_in(self._base, texts.load(language), fault=fault)
        return status, page, (HTML,)

    def _cookie(self, value: str, seconds: int) -> tuple[bytes, bytes]:
        text = f"{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"
        return b"set-cookie", text.encode()
