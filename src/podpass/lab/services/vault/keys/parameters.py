"""Parse what requests say about a key: its type and size, its permitted operations, random bytes. Pure.

Source: https://learn.microsoft.com/rest/api/keyvault/keys/create-key
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.key_types import EC, KEY_SIZES, RSA
from podpass.lab.services.vault.keys import jwk
from podpass.lab.services.vault.wire import parse_bytes

# In Azure's order, which responses repeat.
OPERATIONS: Mapping[str, tuple[str, ...]] = {
    RSA: ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"),
    EC: ("sign", "verify"),
}
MAX_RANDOM_BYTES = 128
# The SDK for Java sends 0 when the caller sets none.
DEFAULT_EXPONENT = 65537
_EXPONENTS = (0, 3, DEFAULT_EXPONENT)
_MAX_ALGORITHM = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyParameters:
    """The type of a new key: the size and exponent of RSA, or a curve."""

    size: int = 2048
    exponent: int = DEFAULT_EXPONENT
    curve: ec.EllipticCurve | None = None

    @property
    def kty(self) -> str:
        """Return the type of the key in its JSON Web Key."""
        return RSA if self.curve is None else EC

    def generate(self) -> PrivateKey:
        """Generate a key pair; RSA takes up to seconds."""
        if self.curve is not None:
            return ec.generate_private_key(self.curve)
        return rsa.generate_private_key(self.exponent, self.size)


def like(key: jwk.PublicKey) -> KeyParameters:
    """Return the parameters of a key, for its next version."""
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        # An imported key may have an exponent that no key is generated with.
        return KeyParameters(
            size=key.key_size, exponent=exponent if exponent in _EXPONENTS else DEFAULT_EXPONENT
        )
    return KeyParameters(curve=key.curve)


def parse_create(given: Mapping[str, Any]) -> KeyParameters:
    """Parse the type of a new key. Raises BadParameter."""
    check_not_exportable(given)
    kty = jwk.check_type(given.get("kty"))
    size, curve = given.get("key_size"), given.get("crv")
    exponent = given.get("public_exponent")
    if kty == EC:
        return KeyParameters(curve=jwk.check_curve("P-256" if curve is None else curve))
    if size is not None and (type(size) is not int or size not in KEY_SIZES):
        raise BadParameter("'key_size' of an RSA key must be 2048, 3072 or 4096.")
    if exponent is not None and (type(exponent) is not int or exponent not in _EXPONENTS):
        raise BadParameter("'public_exponent' must be 3 or 65537.")
    return KeyParameters(size=size or 2048, exponent=exponent or DEFAULT_EXPONENT)


def parse_import(given: Mapping[str, Any]) -> tuple[jwk.PrivateNumbers, tuple[str, ...]]:
    """Parse a private key, not checked yet, and its permitted operations. Raises BadParameter."""
    check_not_exportable(given)
    if given.get("Hsm") is True:
        jwk.check_type("RSA-HSM")
    key = given.get("key")
    numbers = jwk.parse_private(key)
    kty = RSA if isinstance(numbers, rsa.RSAPrivateNumbers) else EC
    assert isinstance(key, dict)
    return numbers, parse_operations(key, kty)


def check_not_exportable(given: Mapping[str, Any]) -> None:
    """Check that a request does not make a key exportable. Raises BadParameter."""
    attributes = given.get("attributes")
    exportable = attributes.get("exportable") if isinstance(attributes, dict) else None
    if exportable or given.get("release_policy") is not None:
        raise BadParameter(
            "Keys with a release policy, which are exportable, need an HSM; podpass's vaults have none."
        )


def parse_operations(given: Mapping[str, Any], kty: str) -> tuple[str, ...]:
    """Parse the permitted operations of a key; without them, all of its type. Raises BadParameter."""
    value = given.get("key_ops")
    if value is None:
        return OPERATIONS[kty]
    known = {each.lower(): each for each in OPERATIONS[kty]}
    if not isinstance(value, list) or len(value) > 2 * len(OPERATIONS[RSA]):
        raise BadParameter("'key_ops' must be a list of operations.")
    found = [known.get(each.lower()) if isinstance(each, str) else None for each in value]
    if None in found:
        raise BadParameter(f"'key_ops' of a key of type {kty} may be {', '.join(known.values())}.")
    return tuple(dict.fromkeys(each for each in found if each is not None))


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptographicRequest:
    """The parameters of an operation with a key; `signature` is given to verify a digest in `value`."""

    algorithm: str
    value: bytes
    signature: bytes = b""


def parse_cryptographic(given: Mapping[str, Any], *, verifies: bool) -> CryptographicRequest:
    """Parse the body of an operation with a key. Raises BadParameter."""
    algorithm = given.get("alg")
    if not isinstance(algorithm, str) or len(algorithm) > _MAX_ALGORITHM:
        raise BadParameter("The body must contain 'alg', the name of an algorithm.")
    if verifies:
        return CryptographicRequest(
            algorithm=algorithm,
            value=parse_bytes(given, "digest"),
            signature=parse_bytes(given, "value"),
        )
    return CryptographicRequest(algorithm=algorithm, value=parse_bytes(given, "value"))


def parse_random(given: Mapping[str, Any]) -> int:
    """Parse the number of random bytes. Raises BadParameter."""
    count = given.get("count")
    if type(count) is not int or not 1 <= count <= MAX_RANDOM_BYTES:
        raise BadParameter(f"'count' must be a number from 1 to {MAX_RANDOM_BYTES}.")
    return count
