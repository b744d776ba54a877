"""JSON Web Keys: the public part of a key, and the import of a private key. Pure.

An import is bounded before any arithmetic: the check of a private key takes time that grows with its size.

Source: RFC 7517, RFC 7518 section 6.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from podpass.crypto import jose
from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.key_types import CURVES, EC, KEY_SIZES, RSA, curve_name
from podpass.lab.services.vault.wire import parse_bytes

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
PrivateNumbers = rsa.RSAPrivateNumbers | ec.EllipticCurvePrivateNumbers

_MAX_EXPONENT_BYTES = 4
# Some libraries write leading zero bytes.
_SPARE_BYTES = 8


def to_jwk(key: PublicKey) -> dict[str, Any]:
    """Return the public members of a key."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        size = (key.key_size + 7) // 8
        return {
            "kty": RSA,
            "n": jose.b64encode(numbers.n.to_bytes(size, "big")),
            "e": jose.b64encode(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
        }
    point = key.public_numbers()
    size = coordinate_bytes(key.curve)
    return {
        "kty": EC,
        "crv": curve_name(key.curve),
        "x": jose.b64encode(point.x.to_bytes(size, "big")),
        "y": jose.b64encode(point.y.to_bytes(size, "big")),
    }


def describe(key: PrivateKey, operations: Sequence[str]) -> dict[str, Any]:
    """Return the document of a version of a key in the store."""
    return {"jwk": to_jwk(key.public_key()), "key_ops": list(operations)}


def coordinate_bytes(curve: ec.EllipticCurve) -> int:
    """Return the length of a coordinate, and of each half of a signature."""
    return (curve.key_size + 7) // 8


def check_type(value: object) -> str:
    """Return the type of a key that a standard vault supports. Raises BadParameter."""
    name = value.upper() if isinstance(value, str) else ""
    if name.endswith("-HSM") or name == "OCT":
        raise BadParameter(
            f"Keys of type {value} need an HSM, which podpass's vaults do not have; use RSA or EC."
        )
    if name not in (RSA, EC):
        raise BadParameter("'kty' must be RSA or EC.")
    return name


def parse_private(given: object) -> PrivateNumbers:
    """Parse a private key of a supported size, without a check of its numbers. Raises BadParameter."""
    if not isinstance(given, dict):
        raise BadParameter("'key' must be a JSON Web Key.")
    return _parse_rsa(given) if check_type(given.get("kty")) == RSA else _parse_ec(given)


def build_private(numbers: PrivateNumbers) -> PrivateKey:
    """Build a key after the check that its numbers belong together; RSA 4096 takes 0.2 s.

    Raises BadParameter.
    """
    try:
        return numbers.private_key()
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise BadParameter("The numbers of 'key' are not those of one private key.") from exc


def _parse_rsa(given: Mapping[str, Any]) -> rsa.RSAPrivateNumbers:
    most = max(KEY_SIZES) // 8
    modulus = _number(given, "n", most)
    if modulus.bit_length() not in KEY_SIZES:
        raise BadParameter("An RSA key must have 2048, 3072 or 4096 bits.")
    exponent = _number(given, "e", _MAX_EXPONENT_BYTES)
    private = {name: _number(given, name, most) for name in ("p", "q", "d", "dp", "dq", "qi")}
    public = rsa.RSAPublicNumbers(exponent, modulus)
    return rsa.RSAPrivateNumbers(
        p=private["p"],
        q=private["q"],
        d=private["d"],
        dmp1=private["dp"],
        dmq1=private["dq"],
        iqmp=private["qi"],
        public_numbers=public,
    )


def _parse_ec(given: Mapping[str, Any]) -> ec.EllipticCurvePrivateNumbers:
    curve = check_curve(given.get("crv"))
    size = coordinate_bytes(curve)
    x, y, private = (_number(given, name, size) for name in ("x", "y", "d"))
    return ec.EllipticCurvePrivateNumbers(private, ec.EllipticCurvePublicNumbers(x, y, curve))


def check_curve(name: object) -> ec.EllipticCurve:
    """Return a supported curve. Raises BadParameter."""
    if not isinstance(name, str) or name not in CURVES:
        raise BadParameter(f"'crv' must be one of {', '.join(CURVES)}.")
    return CURVES[name]


def _number(given: Mapping[str, Any], name: str, most: int) -> int:
    value = given.get(name)
    # Four characters of base64url are three bytes.
    if not isinstance(value, str) or len(value) > (most + _SPARE_BYTES) * 4 // 3 + 4:
        raise BadParameter(f"'{name}' of the key must be base64url of at most {most} bytes.")
    number = int.from_bytes(parse_bytes(given, name), "big")
    if not 0 < number < 1 << (most * 8):
        raise BadParameter(f"'{name}' of the key must be a number of at most {most} bytes.")
    return number
