"""Reads the form of a POST request within its size limit, for the token and device code endpoints.

A body that is not accepted is passed on as its error, because the response needs the IDs of the request.
"""

from podpass import log
from podpass.exchange import token_request
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.origins import Origins
from podpass.exchange.token_request import RequestRecord
from podpass.guids import is_guid
from podpass.http.server import BodyRefused, BodyTooLarge, Receive, Scope, header, read_decoded_body


async def receive_form(scope: Scope, receive: Receive, limit: int) -> bytes | BodyRefused:
    """Receive and decode the body of a POST of at most `limit` bytes."""
    if scope["method"] != "POST":
        return b""
    try:
        return await read_decoded_body(scope, receive, limit)
    except BodyRefused as exc:
        return exc


def refusal(body: BodyRefused) -> AadstsError:
    """Return the error for a body that is too large or cannot be decoded."""
    return AadstsError(numbers.MALFORMED_REQUEST, reason=body.message).with_response(
        status=body.status
    )


def read_request(
    scope: Scope,
    body: bytes | BodyRefused,
    *,
    tenant: str,
    version: int,
    origins: Origins,
    limit: int,
    record: RequestRecord,
) -> token_request.TokenRequest:
    """Parse a request, and record the fields that may be logged.

    Raises AadstsError 900561, 9002313.
    """
    if scope["method"] != "POST":
        raise AadstsError(numbers.METHOD_NOT_ALLOWED, method=scope["method"])
    if not isinstance(body, BodyRefused) and len(body) > limit:
        body = BodyTooLarge(f"the body is longer than {limit} bytes")
    if isinstance(body, BodyRefused):
        raise refusal(body) from body
    form = token_request.read_form(
        body, header(scope, b"content-type"), header(scope, b"authorization")
    )
    if assertion := form.get("client_assertion"):
        record.add(token_sha256=log.fingerprint(assertion.strip()))
    if is_guid(client := form.get("client_id", "")):
        record.add(client_id=client)
    return token_request.TokenRequest(
        tenant=tenant,
        version=version,
        origin=origins.for_host(header(scope, b"host")),
        form=form,
        cloud=origins.cloud,
        record=record,
    )
