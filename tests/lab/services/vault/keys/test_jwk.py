"""Keys in and out as JSON Web Keys."""

import base64
from typing import Any

import pytest
from Crypto.PublicKey import RSA
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import ECKey, RSAKey

from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.keys import jwk

CURVES = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "P-256K": ec.SECP256K1(),
}


def text(number: int, size: int = 0) -> str:
    data = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture(scope="module")
def rsa_jwk() -> dict[str, Any]:
    return dict(RSAKey.generate_key(2048).as_dict(private=True))


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_key_of_another_library_is_imported(bits: int) -> None:
    made = RSA.generate(bits)
    given = {"kty": "RSA", "n": text(made.n), "e": text(made.e), "d": text(made.d)}
    given |= {"p": text(made.p), "q": text(made.q), "qi": text(pow(made.q, -1, made.p))}
    given |= {"dp": text(made.d % (made.p - 1)), "dq": text(made.d % (made.q - 1))}
    key = jwk.build_private(jwk.parse_private(given))
    shown = jwk.to_jwk(key.public_key())
    assert shown == {"kty": "RSA", "n": given["n"], "e": "AQAB"}


@pytest.mark.parametrize(("name", "curve"), CURVES.items())
def test_ec_key_is_imported_and_shown_with_coordinates_of_full_length(
    name: str, curve: ec.EllipticCurve
) -> None:
    # A private number whose public x is short: its leading zeros must be shown.
    size = (curve.key_size + 7) // 8
    number = next(
        each
        for each in range(1, 5000)
        if ec.derive_private_key(each, curve).public_key().public_numbers().x >> (size * 8 - 8) == 0
    )
    point = ec.derive_private_key(number, curve).public_key().public_numbers()
    given = {"kty": "EC", "crv": name, "x": text(point.x), "y": text(point.y), "d": text(number)}
    shown = jwk.to_jwk(jwk.build_private(jwk.parse_private(given)).public_key())
    assert shown == {
        "kty": "EC",
        "crv": name,
        "x": text(point.x, size),
        "y": text(point.y, size),
    }
    if name != "P-256K":
        assert ECKey.import_key(shown).as_dict(private=False)["x"] == shown["x"]


def test_padding_and_leading_zeros_of_numbers_are_accepted(rsa_jwk: dict[str, Any]) -> None:
    modulus = b"\0" + base64.urlsafe_b64decode(rsa_jwk["n"] + "==")
    given = rsa_jwk | {"n": base64.urlsafe_b64encode(modulus).decode(), "kty": "rsa"}
    shown = jwk.to_jwk(jwk.build_private(jwk.parse_private(given)).public_key())
    assert shown["n"] == rsa_jwk["n"]


@pytest.mark.parametrize("bits", [1024, 2047, 2049, 8192, 16384])
def test_rsa_key_of_another_size_is_refused_before_its_check(
    rsa_jwk: dict[str, Any], bits: int
) -> None:
    with pytest.raises(BadParameter, match=r"'n'|2048, 3072 or 4096"):
        jwk.parse_private(rsa_jwk | {"n": text(1 << (bits - 1) | 1)})


@pytest.mark.parametrize("name", ["p", "q", "d", "dp", "dq", "qi", "e", "n"])
# A small number with very many leading zeros costs the time of a large one.
@pytest.mark.parametrize(
    "value", [None, "", "AA", "!", 5, "A" * 2000, "A" * 2000 + "AQAB", text(1 << 8191)]
)
def test_missing_or_oversized_number_is_refused(
    rsa_jwk: dict[str, Any], name: str, value: object
) -> None:
    with pytest.raises(BadParameter, match=f"'{name}'"):
        jwk.parse_private(rsa_jwk | {name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("p", text(3)), ("d", text(5)), ("qi", text(2)), ("e", text(4))]
)
def test_numbers_of_different_keys_are_refused(
    rsa_jwk: dict[str, Any], name: str, value: str
) -> None:
    with pytest.raises(BadParameter, match="one private key"):
        jwk.build_private(jwk.parse_private(rsa_jwk | {name: value}))


def test_point_that_is_not_on_the_curve_is_refused() -> None:
    given = {"kty": "EC", "crv": "P-256", "x": text(1), "y": text(1), "d": text(1)}
    with pytest.raises(BadParameter, match="one private key"):
        jwk.build_private(jwk.parse_private(given))


@pytest.mark.parametrize("kty", ["RSA-HSM", "EC-HSM", "oct", "oct-HSM"])
def test_type_that_needs_an_hsm_is_refused(kty: str) -> None:
    with pytest.raises(BadParameter, match="need an HSM"):
        jwk.parse_private({"kty": kty, "k": "AAAA"})


@pytest.mark.parametrize("given", [None, [], {}, {"kty": "DSA"}, {"kty": 5}])
def test_other_type_is_refused(given: object) -> None:
    with pytest.raises(BadParameter, match=r"'key'|'kty'"):
        jwk.parse_private(given)


@pytest.mark.parametrize("curve", ["P-192", "secp256k1", None, 5, ["P-256"]])
def test_other_curve_is_refused(curve: object) -> None:
    with pytest.raises(BadParameter, match="'crv'"):
        jwk.parse_private({"kty": "EC", "crv": curve, "x": "AQ", "y": "AQ", "d": "AQ"})


def test_generated_rsa_key_is_shown_as_another_library_shows_it() -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()
    shown = jwk.to_jwk(key)
    assert RSAKey.import_key(shown).as_dict(private=False)["n"] == shown["n"]
