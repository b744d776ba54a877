"""A form posted to the token service, read from the wire with its bounds; for token and device endpoint."""

from typing import Any

from podpass import log
from podpass.exchange import wire
from podpass.exchange.aadsts import Refused
from podpass.exchange.origins import Origins
from podpass.serve import BodyTooLarge, Receive, Scope, header, read_body


async def read_request(
    scope: Scope,
    receive: Receive,
    *,
    tenant: str,
    version: int,
    origins: Origins,
    limit: int,
    facts: dict[str, Any],
) -> wire.TokenRequest:
    """Read a request; what the log may know of it is put into `facts`.

    Errors:  Refused 900561, 9002313.
    """
    if scope["method"] != "POST":
        raise Refused(900561, method=scope["method"])
    try:
        body = await read_body(receive, limit)
    except BodyTooLarge as exc:
        raise Refused(9002313, reason=exc.message).answered(status=exc.status) from exc
    form = wire.read_form(body, header(scope, b"content-type"), header(scope, b"authorization"))
    if assertion := form.get("client_assertion"):
        facts["token_sha256"] = log.fingerprint(assertion.strip())
    if wire.is_guid(client := form.get("client_id", "")):
        facts["client_id"] = client
    return wire.TokenRequest(
        tenant=tenant,
        version=version,
        origin=origins.of_host(header(scope, b"host")),
        form=form,
    )
