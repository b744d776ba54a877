"""Requests for tokens that will be granted, each with an assertion of its own."""

import time
import uuid
from urllib.parse import urlencode

from podpass import names
from podpass.assertion import mint
from tests.soak.issuer import Issuer

TENANT, CLIENT = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
ACCOUNT = mint.Ref(name="web", uid=str(uuid.UUID(int=4)))


def request(issuer: Issuer, number: int, client: str = CLIENT) -> bytes:
    """Write a whole request as an SDK in a pod sends it."""
    claims = mint.claims(
        issuer=issuer.url(),
        namespace="default",
        account=ACCOUNT,
        audiences=[names.EXCHANGE_AUDIENCE],
        seconds=3600,
        now=time.time(),
        jti=str(uuid.UUID(int=number)),
        pod=mint.Ref(name="web-5d9c7b8f6c-x2x7q", uid=str(uuid.uuid4())),
        node=mint.Ref(name="node-1", uid=str(uuid.uuid4())),
    )
    form = {
        "client_assertion": mint.mint(issuer.ring, claims),
        "client_assertion_type": names.JWT_BEARER,
        "client_id": client,
        "grant_type": "client_credentials",
        "scope": "https://vault.azure.net/.default",
    }
    return post(TENANT, urlencode(form).encode(), str(uuid.uuid4()))


def post(tenant: str, body: bytes, request_id: str) -> bytes:
    """Write a request's head before its body."""
    head = (
        f"POST /{tenant}/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n"
        "User-Agent: azsdk-python-identity/1.27.0 Python/3.11.2 (Linux)\r\n"
        f"x-ms-client-request-id: {request_id}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
