"""Forged tokens: any JSON as header and claims, any bytes as signature."""

import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import padding

from podpass.crypto import jose
from tests.exchange.world import World

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
KEYS_PATH = "/11111111/22222222/openid/v1/jwks"
DISCOVERY_PATH = "/11111111/22222222/.well-known/openid-configuration"


def valid_parts(world: World, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header and claims of a valid token, with changes."""
    token = jose.parse(world.mint(**changes))
    return dict(token.header), dict(token.claims)


def signing_input(header: object, claims: object) -> str:
    """Return the signing input of header and claims; bytes are used unchanged."""
    return ".".join(
        jose.b64encode(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, claims)
    )


def build_token(world: World, header: object, claims: object, signature: bytes = b"") -> str:
    """Return a token; without a given signature, it is signed with the issuer's active key."""
    signed = signing_input(header, claims)
    key = world.ring.active.key
    made = signature or key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{jose.b64encode(made)}"


def build_hmac_token(secret: bytes, alg: str, header: object, claims: object) -> str:
    """Return a token signed with a secret: HS256, HS384 or HS512."""
    signed = signing_input(header, claims)
    context = hmac.HMAC(secret, HASHES[alg[-3:]])
    context.update(signed.encode())
    return f"{signed}.{jose.b64encode(context.finalize())}"


def publish(world: World, *keys: Mapping[str, object]) -> None:
    """Replace the keys that the issuer publishes, from the next fetch on."""
    body = json.dumps({"keys": keys}).encode()
    world.site.answers[KEYS_PATH] = (200, body, {"content-type": "application/json"})
