"""What requests may say about keys."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from podpass.crypto import jose
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.keys import parameters

RSA_OPERATIONS = ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey")


@pytest.mark.parametrize(
    ("given", "bits", "exponent"),
    [
        ({"kty": "RSA"}, 2048, 65537),
        ({"kty": "RSA", "key_size": None, "crv": None, "public_exponent": None}, 2048, 65537),
        ({"kty": "rsa", "key_size": 3072}, 3072, 65537),
        ({"kty": "RSA", "public_exponent": 0}, 2048, 65537),
        ({"kty": "RSA", "key_size": 4096, "public_exponent": 3}, 4096, 3),
    ],
)
def test_rsa_key_is_generated_as_requested(given: dict[str, Any], bits: int, exponent: int) -> None:
    key = parameters.parse_create(given).generate()
    assert isinstance(key, rsa.RSAPrivateKey)
    assert (key.key_size, key.public_key().public_numbers().e) == (bits, exponent)
    again = parameters.like(key.public_key()).generate()
    assert isinstance(again, rsa.RSAPrivateKey)
    assert (again.key_size, again.public_key().public_numbers().e) == (bits, exponent)


@pytest.mark.parametrize(
    ("curve", "name"),
    [
        (None, "secp256r1"),
        ("P-256", "secp256r1"),
        ("P-384", "secp384r1"),
        ("P-521", "secp521r1"),
        ("P-256K", "secp256k1"),
    ],
)
def test_ec_key_is_generated_on_the_curve(curve: str | None, name: str) -> None:
    wanted = parameters.parse_create({"kty": "EC", "crv": curve, "key_size": 256})
    key = wanted.generate()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert (wanted.kty, key.curve.name) == ("EC", name)
    assert parameters.like(key.public_key()).curve == key.curve


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "'kty'"),
        ({"kty": "oct", "key_size": 256}, "HSM"),
        ({"kty": "RSA-HSM"}, "HSM"),
        ({"kty": "EC-HSM"}, "HSM"),
        ({"kty": "RSA", "key_size": 1024}, "'key_size'"),
        ({"kty": "RSA", "key_size": 16384}, "'key_size'"),
        ({"kty": "RSA", "key_size": "2048"}, "'key_size'"),
        ({"kty": "RSA", "key_size": True}, "'key_size'"),
        ({"kty": "RSA", "key_size": 2048.0}, "'key_size'"),
        ({"kty": "RSA", "public_exponent": 1}, "'public_exponent'"),
        ({"kty": "RSA", "public_exponent": 1 << 900}, "'public_exponent'"),
        ({"kty": "EC", "crv": "P-224"}, "'crv'"),
        ({"kty": "RSA", "release_policy": {}}, "HSM"),
        ({"kty": "RSA", "attributes": {"exportable": True}}, "HSM"),
    ],
)
def test_other_key_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        parameters.parse_create(given)


def test_key_that_is_not_exportable_is_accepted() -> None:
    parameters.parse_create({"kty": "RSA", "attributes": {"exportable": False}})


@pytest.mark.parametrize(
    ("given", "kty", "expected"),
    [
        (None, "RSA", RSA_OPERATIONS),
        (None, "EC", ("sign", "verify")),
        ([], "RSA", ()),
        (["WRAPKEY", "unwrapKey", "wrapKey"], "RSA", ("wrapKey", "unwrapKey")),
    ],
)
def test_permitted_operations_are_parsed(given: Any, kty: str, expected: tuple[str, ...]) -> None:
    assert parameters.parse_operations({"key_ops": given}, kty) == expected


@pytest.mark.parametrize(
    ("given", "kty"),
    [
        (["encrypt"], "EC"),
        (["import"], "RSA"),
        (["export"], "RSA"),
        ([5], "RSA"),
        ("sign", "RSA"),
        (["sign"] * 100, "RSA"),
    ],
)
def test_operation_that_the_type_lacks_is_refused(given: Any, kty: str) -> None:
    with pytest.raises(BadParameter, match="'key_ops'"):
        parameters.parse_operations({"key_ops": given}, kty)


def test_import_reads_the_operations_of_the_key() -> None:
    key = ec.derive_private_key(7, ec.SECP256R1())
    point = key.public_key().public_numbers()
    given = {"kty": "EC", "crv": "P-256", "d": "Bw", "key_ops": ["sign"]}
    given |= {"x": _text(point.x), "y": _text(point.y)}
    numbers, operations = parameters.parse_import({"key": given, "Hsm": False})
    assert isinstance(numbers, ec.EllipticCurvePrivateNumbers)
    assert (numbers.private_value, operations) == (7, ("sign",))
    with pytest.raises(BadParameter, match="HSM"):
        parameters.parse_import({"key": given, "Hsm": True})
    with pytest.raises(BadParameter, match="HSM"):
        parameters.parse_import({"key": given, "attributes": {"exportable": True}})


def _text(number: int) -> str:
    return jose.b64encode(number.to_bytes(32, "big"))


def test_body_of_an_operation_is_parsed() -> None:
    given = {"alg": "RS256", "value": "AQI=", "digest": "Aw"}
    signed = parameters.parse_cryptographic(given, verifies=False)
    assert (signed.algorithm, signed.value, signed.signature) == ("RS256", b"\1\2", b"")
    verified = parameters.parse_cryptographic(given, verifies=True)
    assert (verified.value, verified.signature) == (b"\3", b"\1\2")


@pytest.mark.parametrize(
    "given",
    [
        {"value": "AQI"},
        {"alg": 5, "value": "AQI"},
        {"alg": "R" * 33, "value": "AQI"},
        {"alg": "RS256"},
        {"alg": "RS256", "value": 5},
        {"alg": "RS256", "value": "A%/="},
        {"alg": "RS256", "value": "A"},
    ],
)
def test_malformed_body_of_an_operation_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        parameters.parse_cryptographic(given, verifies=False)


def test_signature_without_digest_is_not_verified() -> None:
    with pytest.raises(BadParameter, match="'digest'"):
        parameters.parse_cryptographic({"alg": "RS256", "value": "AQI"}, verifies=True)


@pytest.mark.parametrize("count", [1, 128])
def test_number_of_random_bytes_is_parsed(count: int) -> None:
    assert parameters.parse_random({"count": count}) == count


@pytest.mark.parametrize("count", [None, 0, 129, -1, "8", True, 8.0])
def test_other_number_of_random_bytes_is_refused(count: object) -> None:
    with pytest.raises(BadParameter, match="'count'"):
        parameters.parse_random({"count": count})


def test_key_like_an_imported_one_has_an_exponent_that_can_be_generated() -> None:
    imported = rsa.RSAPublicNumbers(17, 2**2047 + 1).public_key()
    made = parameters.like(imported).generate()
    assert isinstance(made, rsa.RSAPrivateKey)
    assert (made.key_size, made.public_key().public_numbers().e) == (2048, 65537)
