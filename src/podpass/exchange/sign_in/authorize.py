"""A request to sign a user in by browser: its parameters in, what was asked out; and the way back. Pure.

Source: RFC 6749 section 4.1, RFC 7636, OAuth 2.0 response modes. Codes only: no token goes through a browser.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.sign_in import scope as user_scope
from podpass.exchange.sign_in.clients import Platform

MAX_STATE_CHARS = 4096
MAX_NONCE_CHARS = 512
_MODES = ("query", "fragment", "form_post")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeRequest:
    """What a client asks of the sign-in page.

    Shapes:  `scope` is a resource at the v1.0 endpoint; `challenge` is S256, empty for none.
    """

    client_id: str
    redirect: str
    scope: str
    mode: str = "query"
    state: str = field(default="", repr=False)
    nonce: str = ""
    challenge: str = ""
    prompt: str = ""
    login_hint: str = ""


def read_request(query: Mapping[str, str], *, version: int) -> AuthorizeRequest:
    """Read the parameters by which an answer finds its way; nothing else is judged yet.

    Errors:  Refused 900144, 9002313.
    """
    for name in ("client_id", "redirect_uri"):
        if not query.get(name, "").strip():
            raise Refused(900144, name=name)
    state, nonce = query.get("state", ""), query.get("nonce", "")
    if len(state) > MAX_STATE_CHARS or len(nonce) > MAX_NONCE_CHARS:
        raise Refused(9002313, reason="state or nonce is too long")
    mode = query.get("response_mode") or "query"
    return AuthorizeRequest(
        client_id=query["client_id"].strip(),
        redirect=query["redirect_uri"],
        scope=query.get("resource" if version == 1 else "scope", ""),
        mode=mode if mode in _MODES else "query",
        state=state,
        nonce=nonce,
        challenge=query.get("code_challenge", ""),
        prompt=query.get("prompt", ""),
        login_hint=query.get("login_hint", "")[:256],
    )


def check_request(
    query: Mapping[str, str], asked: AuthorizeRequest, platform: Platform, *, version: int
) -> None:
    """Check the rest, once it is known where a refusal may be sent.

    Errors:  Refused 70005, 70007, 900144, 70011, 700022, 501491, 9002325, 50058.
    """
    if (kind := query.get("response_type", "")) != "code":
        raise Refused(70005, value=kind)
    if (query.get("response_mode") or "query") not in _MODES:
        raise Refused(70007, value=query.get("response_mode"))
    if not asked.scope.strip():
        raise Refused(900144, name="resource" if version == 1 else "scope")
    user_scope.read(asked.scope, version=version)
    method = query.get("code_challenge_method", "plain" if asked.challenge else "S256")
    if method != "S256" or (asked.challenge and not _CHALLENGE.fullmatch(asked.challenge)):
        raise Refused(501491)
    if platform is Platform.SPA and not asked.challenge:
        raise Refused(9002325)
    if asked.prompt == "none":
        raise Refused(50058)


def origin_of(redirect: str) -> str:
    """Name where a form may lead, for the page's Content-Security-Policy."""
    parts = urlsplit(redirect)
    if parts.scheme in {"http", "https"} and re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", parts.netloc):
        return f"{parts.scheme}://{parts.netloc}"
    return f"{parts.scheme}:" if re.fullmatch(r"[a-z][a-z0-9+.-]*", parts.scheme) else "'none'"


def location(asked: AuthorizeRequest, answer: Mapping[str, str]) -> str:
    """Write the address that carries an answer back, in the query or the fragment."""
    text = urlencode({**answer, **({"state": asked.state} if asked.state else {})})
    if asked.mode == "fragment":
        return f"{asked.redirect}#{text}"
    joint = "&" if urlsplit(asked.redirect).query else "?"
    return f"{asked.redirect}{joint}{text}"


def post_fields(asked: AuthorizeRequest, answer: Mapping[str, str]) -> str:
    """Write the hidden fields that carry an answer back in a form."""
    fields = {**answer, **({"state": asked.state} if asked.state else {})}
    return "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )
