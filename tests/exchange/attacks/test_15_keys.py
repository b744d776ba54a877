"""Group 15: keys that an issuer should not publish, and invalid key sets."""

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from podpass.crypto import jose
from tests.exchange.attacks.forge import KEYS_PATH, good, publish, text

if TYPE_CHECKING:
    from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")
UNKNOWN = 7000272


def number(value: int) -> str:
    return jose.b64encode(value.to_bytes(max(1, (value.bit_length() + 7) // 8)))


def own(world: "World", **changes: Any) -> dict[str, Any]:
    active = world.ring.active
    jwk = {**jose.rsa_jwk(active.key.public_key(), active.kid), **changes}
    return {name: value for name, value in jwk.items() if value is not None}


@pytest.mark.parametrize("bits", [1024, 2047])
async def test_signature_by_a_small_key_is_refused(later: "World", bits: int) -> None:
    """The key and the signature are valid; only the size of the key is too small."""
    header, claims = good(later)
    key = rsa.generate_private_key(65537, bits)
    publish(later, jose.rsa_jwk(key.public_key(), later.ring.active.kid))
    signed = text(header, claims)
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    answer = await later.ask(client_assertion=f"{signed}.{jose.b64encode(signature)}")
    assert (answer.status, answer.code) == (401, UNKNOWN)


@pytest.mark.parametrize(
    "changes",
    [
        {"n": number((1 << 511) | 1)},
        {"n": number((1 << 16383) | 1)},
        {"n": number((1 << 8192) | 1)},
        {"n": number((1 << 65535) | 1)},
        {"n": number(1 << 2047)},
        {"n": number(0)},
        {"n": ""},
        {"n": None},
        {"n": [number(5)]},
        {"n": "!AAA"},
        {"n": number((1 << 2047) | 1) + "="},
        {"e": number(0)},
        {"e": number(1)},
        {"e": number(2)},
        {"e": number(65536)},
        {"e": number(2**33 + 1)},
        {"e": number(2**64 + 1)},
        {"e": number((1 << 2046) | 1)},
        {"e": None},
        {"e": 65537},
        {"use": "enc"},
        {"use": "SIG"},
        {"use": ["sig"]},
        {"key_ops": ["sign"]},
        {"key_ops": ["encrypt", "wrapKey"]},
        {"key_ops": []},
        {"key_ops": "verify"},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "RSA-OAEP"},
        {"alg": "ES256"},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC"},
        {"kty": "rsa"},
        {"kty": None},
        {"kid": None},
        {"kid": 5},
        {"kid": ""},
    ],
)
async def test_published_key_for_another_use_is_ignored(
    later: "World", changes: dict[str, Any]
) -> None:
    publish(later, own(later, **changes))
    answer = await later.ask()
    assert (answer.status, answer.code) in {(401, UNKNOWN), (401, 7000274)}
    publish(later, own(later))
    later.now += 300
    assert (await later.ask()).status == 200


@pytest.mark.parametrize("kty", ["oct", "EC"])
async def test_published_symmetric_key_is_ignored(later: "World", kty: str) -> None:
    secret = {"kty": kty, "kid": "s", "k": "c2VjcmV0", "crv": "P-256", "x": "AA", "y": "AA"}
    publish(later, secret, own(later))
    assert (await later.ask()).status == 200
    header, claims = good(later)
    signed = text({**header, "kid": "s", "alg": "HS256"}, claims)
    answer = await later.ask(client_assertion=f"{signed}.AAAA")
    assert answer.code == 5002738


async def test_signature_is_verified_with_every_key_of_its_id(later: "World") -> None:
    foreign = jose.rsa_jwk(jose.generate_rsa().public_key(), later.ring.active.kid)
    publish(later, foreign, own(later))
    assert (await later.ask()).status == 200
    publish(later, foreign)
    later.now += 300
    assert (await later.ask()).code == 7000274


async def test_token_without_key_id_is_refused(later: "World") -> None:
    """With several keys or one, with an id or without: a token must name its key."""
    for keys in ([own(later)], [own(later, kid=None)], [own(later), own(later, kid="other")]):
        publish(later, *keys)
        later.now += 300
        for kid in (None, ""):
            assert (await later.ask(client_assertion=later.mint({"kid": kid}))).code == 5002723


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
        "many",
        "70kB",
        "bomb",
        "gzip",
        "deflate",
        "html",
        "cut",
        "object",
        "null",
        "case",
        "list",
        "nothing",
        "twice",
        "number",
    ],
)
async def test_invalid_key_set_is_a_failed_request(
    later: "World", body: bytes, headers: dict[str, str]
) -> None:
    later.site.answers[KEYS_PATH] = (200, body, headers)
    answer = await later.ask()
    assert (answer.status, answer.code) == (400, 501661)
    later.site.answers.clear()
    later.now += 100
    assert (await later.ask()).status == 200


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream", "", "image/png"])
async def test_content_type_of_issuer_documents_is_ignored(later: "World", kind: str) -> None:
    """A storage bucket may set any content type; only the JSON content counts."""
    body = json.dumps({"keys": [own(later)]}).encode()
    later.site.answers[KEYS_PATH] = (200, body, {"content-type": kind})
    assert (await later.ask()).status == 200
