"""Group 15: keys that an issuer should not publish, and invalid key sets."""

import gzip
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from podpass.crypto import jose
from tests.exchange.attacks.forge import KEYS_PATH, publish, signing_input, valid_parts
from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
UNKNOWN = 7000272


def encode_integer(value: int) -> str:
    return jose.b64encode(value.to_bytes(max(1, (value.bit_length() + 7) // 8)))


def active_jwk(world: World, **changes: Any) -> dict[str, Any]:
    active = world.ring.active
    jwk = {**jose.rsa_jwk(active.key.public_key(), active.kid), **changes}
    return {name: value for name, value in jwk.items() if value is not None}


@pytest.mark.parametrize("bits", [1024, 2047])
async def test_signature_by_a_small_key_is_refused(fresh: World, bits: int) -> None:
    """The key and the signature are valid; only the size of the key is too small."""
    header, claims = valid_parts(fresh)
    key = rsa.generate_private_key(65537, bits)
    publish(fresh, jose.rsa_jwk(key.public_key(), fresh.ring.active.kid))
    signed = signing_input(header, claims)
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    answer = await fresh.present(f"{signed}.{jose.b64encode(signature)}")
    assert (answer.status, answer.code) == (401, UNKNOWN)


@pytest.mark.parametrize(
    "changes",
    [
        *({"n": encode_integer((1 << 511) | 1)}, {"n": encode_integer((1 << 16383) | 1)}),
        *({"n": encode_integer((1 << 4096) | 1)}, {"n": encode_integer((1 << 8191) | 1)}),
        *({"n": encode_integer((1 << 65535) | 1)}, {"n": encode_integer(1 << 2047)}),
        *({"n": encode_integer(0)}, {"n": ""}, {"n": None}, {"n": [encode_integer(5)]}),
        *({"n": "!AAA"}, {"n": encode_integer((1 << 2047) | 1) + "="}, {"e": encode_integer(0)}),
        *({"e": encode_integer(1)}, {"e": encode_integer(2)}, {"e": encode_integer(65536)}),
        *({"e": encode_integer(2**32 + 1)}, {"e": encode_integer(2**64 + 1)}),
        *({"e": encode_integer((1 << 2046) | 1)}, {"e": None}, {"e": 65537}, {"use": "enc"}),
        *({"use": "SIG"}, {"use": ["sig"]}, {"key_ops": ["sign"]}),
        *({"key_ops": ["encrypt", "wrapKey"]}, {"key_ops": []}, {"key_ops": "verify"}),
        *({"alg": "RS512"}, {"alg": "HS256"}, {"alg": "none"}, {"alg": "RSA-OAEP"}),
        *({"alg": "ES256"}, {"kty": "oct", "k": "AAAA"}, {"kty": "EC"}, {"kty": "rsa"}),
        *({"kty": None}, {"kid": None}, {"kid": 5}, {"kid": ""}),
    ],
)
async def test_published_key_for_another_use_is_ignored(
    fresh: World, changes: dict[str, Any]
) -> None:
    publish(fresh, active_jwk(fresh, **changes))
    answer = await fresh.request_token()
    assert (answer.status, answer.code) in {(401, UNKNOWN), (401, 7000274)}
    publish(fresh, active_jwk(fresh))
    fresh.now += 300
    assert (await fresh.request_token()).status == 200


@pytest.mark.parametrize("kty", ["oct", "EC"])
async def test_published_symmetric_key_is_ignored(fresh: World, kty: str) -> None:
    secret = {"kty": kty, "kid": "s", "k": "c2VjcmV0", "crv": "P-256", "x": "AA", "y": "AA"}
    publish(fresh, secret, active_jwk(fresh))
    assert (await fresh.request_token()).status == 200
    header, claims = valid_parts(fresh)
    signed = signing_input({**header, "kid": "s", "alg": "HS256"}, claims)
    answer = await fresh.present(f"{signed}.AAAA")
    assert answer.code == 5002738


async def test_signature_is_verified_with_every_key_of_its_id(fresh: World) -> None:
    foreign = jose.rsa_jwk(jose.generate_rsa().public_key(), fresh.ring.active.kid)
    publish(fresh, foreign, active_jwk(fresh))
    assert (await fresh.request_token()).status == 200
    publish(fresh, foreign)
    fresh.now += 300
    assert (await fresh.request_token()).code == 7000274


async def test_key_set_with_many_keys_of_one_id_is_a_failed_request(fresh: World) -> None:
    """With forty keys of one ID, each request would cost forty verifications."""
    foreign = jose.rsa_jwk(jose.generate_rsa().public_key(), fresh.ring.active.kid)
    publish(fresh, foreign, foreign, active_jwk(fresh))
    assert (await fresh.request_token()).status == 200
    publish(fresh, foreign, foreign, foreign, active_jwk(fresh))
    fresh.now += 86_400
    answer = await fresh.request_token()
    assert (answer.status, answer.code) == (400, 501661)


async def test_token_without_key_id_is_refused(fresh: World) -> None:
    """With several keys or one, with an id or without: a token must name its key."""
    for keys in (
        [active_jwk(fresh)],
        [active_jwk(fresh, kid=None)],
        [active_jwk(fresh), active_jwk(fresh, kid="other")],
    ):
        publish(fresh, *keys)
        fresh.now += 300
        for kid in (None, ""):
            assert (await fresh.present(fresh.mint({"kid": kid}))).code == 5002723


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (json.dumps({"keys": [{}] * 30_000}).encode(), {}),
        (b'{"keys":[' + b" " * 70_000 + b"]}", {}),
        (gzip.compress(b"{" + b" " * 50_000_000 + b"}"), {"content-encoding": "gzip"}),
        (gzip.compress(b'{"keys":[]}'), {"content-encoding": "gzip"}),
        (gzip.compress(b'{"keys":[]}'), {"content-encoding": "deflate"}),
        (b"<!doctype html><title>Sign in</title>", {"content-type": "text/html"}),
        (b'{"keys":[', {}),
        (b'{"keys":{}}', {}),
        (b'{"keys":null}', {}),
        (b'{"Keys":[]}', {}),
        (b"[]", {}),
        (b"", {}),
        (b'{"keys":[],"keys":[]}', {}),
        (b'{"keys":[{"n":' + b"9" * 600 + b"}]}", {}),
    ],
    ids=[
        *("many", "70kB", "bomb", "gzip", "deflate", "html", "cut", "object", "null", "case"),
        *("list", "nothing", "twice", "number"),
    ],
)
async def test_invalid_key_set_is_a_failed_request(
    fresh: World, body: bytes, headers: dict[str, str]
) -> None:
    fresh.site.answers[KEYS_PATH] = (200, body, headers)
    answer = await fresh.request_token()
    assert (answer.status, answer.code) == (400, 501661)
    fresh.site.answers.clear()
    fresh.now += 100
    assert (await fresh.request_token()).status == 200


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream", "", "image/png"])
async def test_content_type_of_issuer_documents_is_ignored(fresh: World, kind: str) -> None:
    """A storage bucket may set any content type; only the JSON content counts."""
    body = json.dumps({"keys": [active_jwk(fresh)]}).encode()
    fresh.site.answers[KEYS_PATH] = (200, body, {"content-type": kind})
    assert (await fresh.request_token()).status == 200
