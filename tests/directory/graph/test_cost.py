"""What one request can make the directory parse: cert-manager CVE-2024-12401, as it would look here."""

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.directory.graph.test_credentials import certificate, key_credential
from tests.directory.graph.world import World


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
async def test_a_certificate_is_read_within_bounds(world: World, encoding: Encoding) -> None:
    """Fails if a text of any length goes to the parser: this one holds a good certificate, and padding."""
    made = await world.application()
    path = f"/applications/{made['id']}"
    whole = certificate().public_bytes(encoding)
    good = key_credential() | {"key": base64.b64encode(whole).decode()}
    assert (await world.patch(path, {"keyCredentials": [good]})).status == 204
    padded = key_credential() | {"key": base64.b64encode(whole).decode() + "\n" * 16 * 1024}
    reply = await world.patch(path, {"keyCredentials": [padded]})
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
