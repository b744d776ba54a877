"""Group 3: a signature of one type declared as another. ES256 and ES384 are enabled here."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from podpass.crypto import jose
from tests.exchange.attacks.forge import publish, signing_input, valid_parts
from tests.exchange.world import Start, World

P256, P384 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1()))
SIZES = {"ES256": 32, "ES384": 48}
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def ec_jwk(key: ec.EllipticCurvePrivateKey, **more: object) -> dict[str, object]:
    numbers, size = key.public_key().public_numbers(), key.key_size // 8
    x, y = (jose.b64encode(each.to_bytes(size)) for each in (numbers.x, numbers.y))
    return {"kty": "EC", "kid": "e", "crv": f"P-{key.key_size}", "x": x, "y": y, **more}


def sign_der(key: ec.EllipticCurvePrivateKey, signed: str, digest: Any = None) -> bytes:
    return key.sign(signed.encode(), ec.ECDSA(digest or hashes.SHA256()))


def sign_fixed_length(
    key: ec.EllipticCurvePrivateKey, signed: str, size: int, digest: Any = None
) -> bytes:
    r, s = decode_dss_signature(sign_der(key, signed, digest))
    return r.to_bytes(size) + s.to_bytes(size)


@pytest.fixture
async def ec_world(start: Start) -> World:
    """Return a service that accepts ES256 and ES384, whose issuer publishes one key of each curve."""
    world = await start(assertion_algorithms=("RS256", "ES256", "ES384"))
    own = jose.rsa_jwk(world.ring.active.key.public_key(), "r")
    own.pop("alg")
    publish(world, ec_jwk(P256), ec_jwk(P384, kid="e3"), own)
    return world


async def send_token(world: World, header: dict[str, Any], sign: Any) -> int:
    _, claims = valid_parts(world)
    signed = signing_input(header, claims)
    token = f"{signed}.{jose.b64encode(sign(signed))}"
    answer = await world.present(token)
    return 200 if answer.status == 200 else answer.code


async def test_each_key_type_is_accepted_for_its_algorithm(ec_world: World) -> None:
    """The same tokens with a correct signature are accepted, so the refusals below have one cause."""
    good_256 = await send_token(
        ec_world, {"alg": "ES256", "kid": "e"}, lambda signed: sign_fixed_length(P256, signed, 32)
    )
    good_384 = await send_token(
        ec_world,
        {"alg": "ES384", "kid": "e3"},
        lambda signed: sign_fixed_length(P384, signed, 48, hashes.SHA384()),
    )
    assert (good_256, good_384) == (200, 200)


@pytest.mark.parametrize(
    ("alg", "kid"),
    [
        ("RS256", "e"),
        ("RS256", "e3"),
        ("ES256", "r"),
        ("ES384", "r"),
        ("ES256", "e3"),
        ("ES384", "e"),
    ],
)
async def test_key_is_refused_for_an_algorithm_of_another_type(
    ec_world: World, alg: str, kid: str
) -> None:
    rsa = ec_world.ring.active.key
    for sign in (
        lambda signed: rsa.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()),
        lambda signed: sign_fixed_length(P256, signed, 32),
        lambda signed: sign_fixed_length(P384, signed, 48),
        lambda signed: sign_fixed_length(P384, signed, 48, hashes.SHA384()),
    ):
        assert await send_token(ec_world, {"alg": alg, "kid": kid}, sign) == 7000274


async def test_p384_key_that_names_another_algorithm_is_ignored(ec_world: World) -> None:
    publish(ec_world, ec_jwk(P384, alg="ES256"), ec_jwk(P256, alg="ES384"))
    for alg, key, size in (("ES256", P384, 48), ("ES256", P256, 32), ("ES384", P256, 32)):
        code = await send_token(
            ec_world,
            {"alg": alg, "kid": "e"},
            lambda signed, key=key, size=size: sign_fixed_length(key, signed, size),
        )
        assert code == 7000272


@pytest.mark.parametrize(
    "sign",
    [
        lambda signed: sign_der(P256, signed),
        lambda _: bytes(64),
        lambda _: bytes(32) + (1).to_bytes(32),
        lambda _: (1).to_bytes(32) + bytes(32),
        lambda _: ORDER.to_bytes(32) * 2,
        lambda _: b"\xff" * 64,
        lambda _: b"",
        lambda _: bytes(63) + b"\1",
        lambda signed: sign_fixed_length(P256, signed, 32)[:-1],
        lambda signed: sign_fixed_length(P256, signed, 32) + b"\0",
        lambda signed: b"\0" + sign_fixed_length(P256, signed, 32),
        lambda signed: sign_fixed_length(P256, signed, 40),
        # The same two numbers, the second with a leading zero: another encoding of a valid signature.
        lambda signed: (whole := sign_fixed_length(P256, signed, 32))[:32] + b"\0" + whole[32:],
    ],
    ids=[
        *("der", "zero", "r-zero", "s-zero", "order", "ones", "empty", "one", "short", "long"),
        *("shifted", "padded", "zero-before-s"),
    ],
)
async def test_ec_signature_of_another_format_is_refused(ec_world: World, sign: Any) -> None:
    assert await send_token(ec_world, {"alg": "ES256", "kid": "e"}, sign) == 7000274


async def test_pss_signature_declared_as_pkcs1_is_refused(ec_world: World) -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    key = ec_world.ring.active.key
    for alg, code in (("RS256", 7000274), ("PS256", 5002738)):
        assert code == await send_token(
            ec_world,
            {"alg": alg, "kid": "r"},
            lambda signed: key.sign(signed.encode(), pss, hashes.SHA256()),
        )


async def test_signature_over_another_digest_is_refused(ec_world: World) -> None:
    key = ec_world.ring.active.key
    for digest in (hashes.SHA1(), hashes.SHA384(), hashes.SHA512()):
        assert (
            await send_token(
                ec_world,
                {"alg": "RS256", "kid": "r"},
                lambda signed, digest=digest: key.sign(signed.encode(), padding.PKCS1v15(), digest),
            )
            == 7000274
        )


async def test_ec_key_with_rsa_members_is_used_as_ec_key(ec_world: World) -> None:
    own = jose.rsa_jwk(ec_world.ring.active.key.public_key(), "e")
    publish(ec_world, {**own, **ec_jwk(P256), "alg": None})
    rsa = ec_world.ring.active.key
    code = await send_token(
        ec_world,
        {"alg": "RS256", "kid": "e"},
        lambda signed: rsa.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()),
    )
    assert code == 7000274
    assert json.loads(ec_world.site.answers["/11111111/22222222/openid/v1/jwks"][1])["keys"]
