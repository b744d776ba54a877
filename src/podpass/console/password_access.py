"""Who may use the console of an authority: its administrators, with user name and password."""

import hashlib
import logging
from collections import OrderedDict
from typing import Protocol
from urllib.parse import parse_qs

from podpass.clock import Clock
from podpass.console import pages, texts
from podpass.console.request_checks import read_cookie
from podpass.console.responses import HTML, Response, static_response, text_response
from podpass.console.sessions import SESSION_SECONDS
from podpass.database import DatabaseFailed
from podpass.errors import Error
from podpass.http.server import BodyTooLarge, Receive, Scope, header, read_body

_log = logging.getLogger(__name__)

# With this prefix, browsers require Secure and Path=/, and no other host can set the cookie.
COOKIE = "__Host-podpass-console"
_COOKIE_CHARS = 1024
_MAX_FORM_BYTES = 4096
_RECHECK_SECONDS = 5.0
_MAX_CHECKED = 256
_PUBLIC_FILES = ("static/console.css", "static/icon.svg")


class AdministratorSessions(Protocol):
    """Opens and checks sessions; all replicas of an authority accept the same ones."""

    async def open(self, name: str, password: str) -> str | None:
        """Return a session for the user name and the password of an administrator; may raise Error."""

    async def is_valid(self, session: str) -> bool:
        """Return whether a session is open and its user still an administrator; may raise DatabaseFailed."""

    async def end(self, session: str) -> None:
        """End a session; may raise DatabaseFailed."""


class PasswordAccess:
    """Admits requests with the cookie of a session, which the sign-in form gives."""

    has_sign_in = True

    def __init__(self, base: str, sessions: AdministratorSessions, clock: Clock) -> None:
        self._base = base
        self._sessions, self._clock = sessions, clock
        # When each session was checked last, by the hash of the cookie.
        self._checked: OrderedDict[bytes, float] = OrderedDict()

    async def is_signed_in(self, scope: Scope) -> bool:
        """Return whether a request has the cookie of a session of a user who is still an administrator.

        A sign-out, a changed password and a deleted user end a session within seconds, on every replica.

        Raises DatabaseFailed.
        """
        session = read_cookie(scope, COOKIE, _COOKIE_CHARS)
        if not session:
            return False
        key, now = _hash(session), self._clock()
        if 0 <= now - self._checked.get(key, now - _RECHECK_SECONDS) < _RECHECK_SECONDS:
            return True
        is_valid = await self._sessions.is_valid(session)
        self._checked.pop(key, None)
        if is_valid:
            self._checked[key] = now
            if len(self._checked) > _MAX_CHECKED:
                self._checked.popitem(last=False)
        return is_valid

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
        session = await self._sign_in(form)
        if session is None:
            return self._form(scope, 403, fault=True)
        cookie = self._cookie(session, SESSION_SECONDS)
        return 303, b"", ((b"location", f"{self._base}/".encode()), cookie)

    async def _sign_in(self, form: dict[str, list[str]]) -> str | None:
        name, password = form.get("username", [""])[0], form.get("password", [""])[0]
        try:
            session = await self._sessions.open(name, password)
        except DatabaseFailed:
            raise  # an unavailable database is not a wrong password
        except Error as exc:
            # The form does not say whether a user exists, is locked, or is no administrator.
            _log.info("console_sign_in_refused", extra={"code": exc.code})
            return None
        _log.info("console_signed_in" if session else "console_sign_in_refused")
        return session

    def no_session(self, scope: Scope) -> Response:
        """Return the sign-in form."""
        return self._form(scope, 401)

    async def sign_out(self, scope: Scope) -> Response:
        """End the session of a request. Raises DatabaseFailed."""
        session = read_cookie(scope, COOKIE, _COOKIE_CHARS)
        await self._sessions.end(session)
        self._checked.pop(_hash(session), None)
        status, body, headers = self._form(scope, 200)
        return status, body, (*headers, self._cookie("", 0))

    def _form(self, scope: Scope, status: int, *, fault: bool = False) -> Response:
        language = texts.choose_language("", header(scope, b"accept-language") or "")
        page = pages.render_sign_in(self._base, texts.load(language), fault=fault)
        return status, page, (HTML,)

    def _cookie(self, value: str, seconds: int) -> tuple[bytes, bytes]:
        text = f"{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"
        return b"set-cookie", text.encode()


def _hash(session: str) -> bytes:
    return hashlib.sha256(session.encode("utf-8", "surrogatepass")).digest()
