"""Group 2: the issuer's public key as an HMAC secret, in every form in which it is published."""

import base64
import json

import pytest
from cryptography.hazmat.primitives import serialization

from podpass.crypto import jose
from tests.exchange.attacks.forge import build_hmac_token, valid_parts
from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
_PKCS1 = serialization.PublicFormat.PKCS1


def public_key_forms(world: World) -> list[bytes]:
    public = world.ring.active.key.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, _SPKI)
    der = public.public_bytes(serialization.Encoding.DER, _SPKI)
    old = public.public_bytes(serialization.Encoding.PEM, _PKCS1)
    jwk = jose.rsa_jwk(public, world.ring.active.kid)
    n = jose.b64decode(str(jwk["n"]))
    written = [json.dumps(jwk).encode(), json.dumps(jwk, separators=(",", ":")).encode()]
    around = [pem, pem.strip(), b"\n" + pem, pem + b"\n", b" " + pem, pem.replace(b"\n", b"\r\n")]
    return [*around, old, der, base64.b64encode(der), n, str(jwk["n"]).encode(), *written, b"\0"]


@pytest.mark.parametrize(
    ("alg", "code"),
    [("HS256", 5002738), ("HS384", 5002738), ("HS512", 5002738), ("RS256", 7000274)],
)
async def test_public_key_is_not_accepted_as_an_hmac_secret(
    shared: World, alg: str, code: int
) -> None:
    header, claims = valid_parts(shared)
    for secret in public_key_forms(shared):
        token = build_hmac_token(secret, alg, {**header, "alg": alg}, claims)
        assert (await shared.present(token)).code == code
