"""What a page's form carries of its sign-in: sealed, and bound to the browser that was shown the page.

A form needs both the sealed token and the browser's cookie that it names, and must come from our own page:
another site can send neither (cross-site request forgery, and signing a victim in as somebody else).
"""

import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from podpass.clock import Clock
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.signing.token_sealer import BrokenSeal, Seal
from podpass.http.server import Scope, header

FLOW_SECONDS = 1800
_PURPOSE = "sign-in-page"
# The prefix makes browsers insist on Secure, Path=/ and this very host.
COOKIE = "__Host-podpass-sign-in"
_COOKIE_CHARS = 64


class Flows:
    """Seal and read the tokens of forms."""

    def __init__(self, seal: Seal, clock: Clock) -> None:
        self._seal = seal
        self._clock = clock

    def begin(self, scope: Scope, flow: Mapping[str, Any]) -> tuple[str, tuple[bytes, bytes]]:
        """Seal what a form is about; give the form's token and the header that sets the cookie."""
        browser = _cookie(scope) or secrets.token_urlsafe(24)
        issued = int(self._clock())
        sealed = self._seal.close(_PURPOSE, {**flow, "browser": browser, "issued": issued})
        # Strict: the page itself sends the form, and no other site's request carries the cookie.
        text = f"{COOKIE}={browser}; Path=/; Secure; HttpOnly; SameSite=Strict"
        return sealed, (b"set-cookie", text.encode())

    def read(self, scope: Scope, text: str) -> dict[str, Any]:
        """Read a form's token back.

        Errors:  Refused 165000 when it is not this browser's, 50089 when it is too old or none of ours.
        """
        if header(scope, b"sec-fetch-site") not in {None, "same-origin", "none"}:
            raise Refused(165000)
        try:
            flow = self._seal.read(_PURPOSE, text)
        except BrokenSeal as exc:
            raise Refused(50089) from exc
        if not hmac.compare_digest(flow["browser"].encode(), _cookie(scope).encode()):
            raise Refused(165000)
        if not 0 <= self._clock() - flow["issued"] < FLOW_SECONDS:
            raise Refused(50089)
        return flow


def _cookie(scope: Scope) -> str:
    for part in (header(scope, b"cookie") or "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE and len(value) <= _COOKIE_CHARS:
            return value if value.replace("-", "").replace("_", "").isalnum() else ""
    return ""
