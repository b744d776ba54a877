"""The responses of the sidecar, in azure-workload-identity's format or with IMDS' errors. Pure."""

import orjson

from podpass.http.reply import Reply
from podpass.imds.entra_client import TokenNotAcquired
from podpass.imds.token_cache import AccessToken
from podpass.imds.token_query import BadTokenQuery, TokenQuery

# azure-workload-identity reports less than the real lifetime, so that a client renews the token in time.
_MARGIN_SECONDS = 10
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"))
_JSON = ((b"content-type", b"application/json"),)
_TEXT_TYPE = _TEXT[:1]
READY = Reply(200, _TEXT_TYPE, b"ok")
# Clients retry requests with these statuses.
_TEMPORARY = 503


def token_reply(
    query: TokenQuery, token: AccessToken, now: float, *, names_client: bool = False
) -> Reply:
    """Return the response with a token.

    `expires_in` and `not_before` are numbers as in azure-workload-identity; `expires_on` is text. All clients
    of App Service's and Cloud Shell's protocols can parse these forms. With `names_client`, the response
    contains the client ID, as in these protocols.
    """
    more = {"client_id": query.client_id} if names_client else {}
    body = orjson.dumps(
        {
            "access_token": token.token,
            "refresh_token": "",
            "expires_in": max(0, int(token.expires - now) - _MARGIN_SECONDS),
            "expires_on": str(int(token.expires)),
            "not_before": 0,
            "resource": query.resource,
            "token_type": "Bearer",
            **more,
        }
    )
    return Reply(200, _JSON, body + b"\n")


def not_ready(expired: int) -> Reply:
    """Return the response of the readiness check while tokens cannot be refreshed."""
    return text_error(
        503, f"{expired} tokens expired and cannot be refreshed; see the log and the metrics"
    )


def query_error(error: BadTokenQuery, *, imds_errors: bool) -> Reply:
    """Return the response to a request that cannot succeed."""
    if imds_errors:
        return _imds_error(400, error.kind, error.message)
    return text_error(400, error.message)


def token_error(error: TokenNotAcquired, *, imds_errors: bool) -> Reply:
    """Return the error response; azure-workload-identity's status is 500, which clients retry."""
    hint = f" Run: podpass explain {error.number}" if error.number else ""
    message = f"{error.message}{hint}"
    if not imds_errors:
        return text_error(500, message)
    if not error.number:
        return _imds_error(_TEMPORARY, "server_error", message)
    kind = "invalid_resource" if error.number.startswith("AADSTS5000") else "invalid_request"
    return _imds_error(400, kind, message)


def text_error(status: int, message: str) -> Reply:
    """Return an error as text, as Go writes it."""
    return Reply(status, _TEXT, message.encode("utf-8", "replace") + b"\n")


def _imds_error(status: int, kind: str, message: str) -> Reply:
    body = orjson.dumps({"error": kind, "error_description": message})
    return Reply(status, _JSON, body)
