"""Anti-forgery tokens of the sign-in forms: the sealed state of a sign-in, bound to the browser by a cookie.

A form must contain the sealed token, its request must contain the matching cookie, and it must come from a
page of this service. Another site can send neither, which prevents CSRF and login CSRF.
"""

import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from podpass.clock import Clock
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.signing.token_sealer import BrokenSeal, TokenSealer
from podpass.http.server import Scope, header

FORM_SECONDS = 1800
_PURPOSE = "sign-in-page"
# For a cookie with this prefix, browsers require Secure and Path=/, and send it only to this host.
COOKIE = "__Host-podpass-sign-in"
_COOKIE_CHARS = 64


class CsrfTokens:
    """Issues and verifies the tokens of forms."""

    def __init__(self, seal: TokenSealer, clock: Clock) -> None:
        self._seal = seal
        self._clock = clock

    def issue(self, scope: Scope, flow: Mapping[str, Any]) -> tuple[str, tuple[bytes, bytes]]:
        """Seal the state of a sign-in; return the token and the header that sets the cookie."""
        browser = _cookie(scope) or secrets.token_urlsafe(24)
        issued = int(self._clock())
        sealed = self._seal.seal(_PURPOSE, {**flow, "browser": browser, "issued": issued})
        # Strict, because only pages of this service send the form.
        text = f"{COOKIE}={browser}; Path=/; Secure; HttpOnly; SameSite=Strict"
        return sealed, (b"set-cookie", text.encode())

    def verify(self, scope: Scope, text: str) -> dict[str, Any]:
        """Return the state in a form's token.

        Raises AadstsError 165000 for a token of another browser, 50089 for an expired or invalid one.
        """
        if header(scope, b"sec-fetch-site") not in {None, "same-origin", "none"}:
            raise AadstsError(numbers.FORM_OF_OTHER_BROWSER)
        try:
            flow = self._seal.open(_PURPOSE, text)
        except BrokenSeal as exc:
            raise AadstsError(numbers.FORM_EXPIRED) from exc
        if not hmac.compare_digest(flow["browser"].encode(), _cookie(scope).encode()):
            raise AadstsError(numbers.FORM_OF_OTHER_BROWSER)
        if not 0 <= self._clock() - flow["issued"] < FORM_SECONDS:
            raise AadstsError(numbers.FORM_EXPIRED)
        return flow


def _cookie(scope: Scope) -> str:
    for part in (header(scope, b"cookie") or "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE and len(value) <= _COOKIE_CHARS:
            return value if value.replace("-", "").replace("_", "").isalnum() else ""
    return ""
