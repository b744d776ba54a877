"""Reads the form of a POST request within its size limit, for the token and device code endpoints."""

from typing import Any

from podpass import log
from podpass.exchange import token_request
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.origins import Origins
from podpass.guids import is_guid
from podpass.http.server import BodyTooLarge, Receive, Scope, header, read_body


async def receive_form(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """Receive the body of a POST; None if it is longer than `limit`."""
    if scope["method"] != "POST":
        return b""
    try:
        return await read_body(receive, limit)
    except BodyTooLarge:
        return None


def read_request(
    scope: Scope,
    body: bytes | None,
    *,
    tenant: str,
    version: int,
    origins: Origins,
    limit: int,
    facts: dict[str, Any],
) -> token_request.TokenRequest:
    """Parse a request, and add the fields that may be logged to `facts`.

    Shapes:  `body` is None if it is longer than `limit`.
    Errors:  AadstsError 900561, 9002313.
    """
    if scope["method"] != "POST":
        raise AadstsError(900561, method=scope["method"])
    if body is None or len(body) > limit:
        reason = f"the body is longer than {limit} bytes"
        raise AadstsError(9002313, reason=reason).with_response(status=BodyTooLarge.status)
    form = token_request.read_form(
        body, header(scope, b"content-type"), header(scope, b"authorization")
    )
    if assertion := form.get("client_assertion"):
        facts["token_sha256"] = log.fingerprint(assertion.strip())
    if is_guid(client := form.get("client_id", "")):
        facts["client_id"] = client
    return token_request.TokenRequest(
        tenant=tenant,
        version=version,
        origin=origins.for_host(header(scope, b"host")),
        form=form,
        cloud=origins.cloud,
    )
