"""Valid token requests, each with a new assertion."""

import time
import uuid
from urllib.parse import urlencode

from kubeling.service_account.claims import ObjectRef, make_claims

from podpass import names
from tests.soak.issuer import IssuerProcess

TENANT, CLIENT = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
ACCOUNT = ObjectRef(name="web", uid=str(uuid.UUID(int=4)))


def token_request(issuer: IssuerProcess, number: int, client: str = CLIENT) -> bytes:
    """Return the bytes of a request as an SDK in a pod sends it."""
    claims = make_claims(
        issuer=issuer.url(),
        namespace="default",
        account=ACCOUNT,
        audiences=[names.EXCHANGE_AUDIENCE],
        seconds=3600,
        now=time.time(),
        jti=str(uuid.UUID(int=number)),
        pod=ObjectRef(name="web-5d9c7b8f6c-x2x7q", uid=str(uuid.uuid4())),
        node=ObjectRef(name="node-1", uid=str(uuid.uuid4())),
    )
    form = {
        "client_assertion": issuer.ring.sign(claims),
        "client_assertion_type": names.JWT_BEARER,
        "client_id": client,
        "grant_type": "client_credentials",
        "scope": "https://vault.azure.net/.default",
    }
    return post_request(TENANT, urlencode(form).encode(), str(uuid.uuid4()))


def post_request(tenant: str, body: bytes, request_id: str) -> bytes:
    """Return the bytes of a POST request with this body."""
    head = (
        f"POST /{tenant}/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
        "User-Agent: azsdk-python-identity/1.27.0 Python/3.11.2 (Linux)\r\n"
        f"x-ms-client-request-id: {request_id}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
