"""Parse and check authorization requests, and build their responses. Pure.

Source: RFC 6749 section 4.1, RFC 7636, OAuth 2.0 response modes. Codes only: no token goes through a browser.
"""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in import scope as user_scope
from podpass.exchange.sign_in.clients import Platform

MAX_STATE_CHARS = 4096
MAX_NONCE_CHARS = 512
_MODES = ("query", "fragment", "form_post")
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizeRequest:
    """An authorization request.

    `scope` is a resource at the v1.0 endpoint, where `version` is 1; `challenge` is an S256 code challenge,
    or empty.
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
    version: int = 2


def parse_request(query: Mapping[str, str], *, version: int) -> AuthorizeRequest:
    """Parse the parameters of a request; check only those that are required to return an error to the client.

    Raises AadstsError 900144, 9002313.
    """
    for name in ("client_id", "redirect_uri"):
        if not query.get(name, "").strip():
            raise AadstsError(numbers.MISSING_PARAMETER, name=name)
    state, nonce = query.get("state", ""), query.get("nonce", "")
    if len(state) > MAX_STATE_CHARS or len(nonce) > MAX_NONCE_CHARS:
        raise AadstsError(numbers.MALFORMED_REQUEST, reason="state or nonce is too long")
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
        version=version,
    )


def check_request(
    query: Mapping[str, str], request: AuthorizeRequest, platform: Platform, *, version: int
) -> None:
    """Check the other parameters, after client and redirect URI are verified.

    Raises AadstsError 70005, 70007, 900144, 70011, 700022, 501491, 9002325, 50058.
    """
    if (response_type := query.get("response_type", "")) != "code":
        raise AadstsError(numbers.UNSUPPORTED_RESPONSE_TYPE, value=response_type)
    if (query.get("response_mode") or "query") not in _MODES:
        raise AadstsError(numbers.UNSUPPORTED_RESPONSE_MODE, value=query.get("response_mode"))
    if not request.scope.strip():
        raise AadstsError(numbers.MISSING_PARAMETER, name="resource" if version == 1 else "scope")
    user_scope.parse(request.scope, version=version)
    method = query.get("code_challenge_method", "plain" if request.challenge else "S256")
    if method != "S256" or (request.challenge and not _CHALLENGE.fullmatch(request.challenge)):
        raise AadstsError(numbers.INVALID_CODE_CHALLENGE)
    if platform is Platform.SPA and not request.challenge:
        raise AadstsError(numbers.PKCE_REQUIRED)
    if request.prompt == "none":
        raise AadstsError(numbers.LOGIN_REQUIRED)


def origin_of(redirect: str) -> str:
    """Return the origin of a redirect URI for the `form-action` of a page's Content-Security-Policy."""
    parts = urlsplit(redirect)
    if parts.scheme in {"http", "https"} and re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", parts.netloc):
        return f"{parts.scheme}://{parts.netloc}"
    return f"{parts.scheme}:" if re.fullmatch(r"[a-z][a-z0-9+.-]*", parts.scheme) else "'none'"


def location(request: AuthorizeRequest, response: Mapping[str, str]) -> str:
    """Return the redirect URI with a response in its query or fragment."""
    text = urlencode({**response, **({"state": request.state} if request.state else {})})
    if request.mode == "fragment":
        return f"{request.redirect}#{text}"
    separator = "&" if urlsplit(request.redirect).query else "?"
    return f"{request.redirect}{separator}{text}"


def post_fields(request: AuthorizeRequest, response: Mapping[str, str]) -> str:
    """Return a response as the hidden fields of a form."""
    fields = {**response, **({"state": request.state} if request.state else {})}
    return "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
        for name, value in fields.items()
    )
