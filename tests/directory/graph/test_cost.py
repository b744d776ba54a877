"""The cost of parsing a certificate in a request: the equivalent of cert-manager CVE-2024-12401."""

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.directory.graph.harness import GraphHarness
from tests.directory.graph.test_credentials import certificate, key_credential


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
async def test_certificate_over_the_size_limit_is_rejected(
    graph: GraphHarness, encoding: Encoding
) -> None:
    """Fails if a text of unlimited length reaches the parser: here a valid certificate with padding."""
    made = await graph.application()
    path = f"/applications/{made['id']}"
    whole = certificate().public_bytes(encoding)
    good = key_credential() | {"key": base64.b64encode(whole).decode()}
    assert (await graph.patch(path, {"keyCredentials": [good]})).status == 204
    padded = key_credential() | {"key": base64.b64encode(whole).decode() + "\n" * 16 * 1024}
    reply = await graph.patch(path, {"keyCredentials": [padded]})
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
