"""The bearer token of a browser: a subprotocol of a WebSocket, because a browser can set no header for it.

Source: k8s.io/apiserver v0.34 pkg/authentication/request/websocket.
"""

import base64
import binascii
from collections.abc import Iterable

from kubeling.apiserver.status import unauthorized
from kubeling.asgi import Scope

_PREFIX = "base64url.bearer.authorization.k8s.io."


def without_tokens(offers: Iterable[str]) -> list[str]:
    """Return the subprotocols that are not tokens."""
    return [offer for offer in offers if not offer.startswith(_PREFIX)]


def offered_token(scope: Scope) -> str:
    """Return the token among the subprotocols that a client offers; empty without one.

    Raises StatusError 401 for a malformed token, for a second one, and for a token without another
    subprotocol: the response has to name one, and must not name the token.
    """
    offers = scope.get("subprotocols") or []
    tokens = [offer.removeprefix(_PREFIX) for offer in offers if offer.startswith(_PREFIX)]
    if not tokens:
        return ""
    if len(tokens) > 1 or len(offers) == 1:
        raise unauthorized()
    try:
        encoded = tokens[0].encode("ascii")
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as exc:
        raise unauthorized() from exc
