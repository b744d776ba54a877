"""Public keys from PEM files, and their JWKS as kube-apiserver publishes it. Pure.

Source:  RFC 7517, RFC 7518 section 6, RFC 7468
"""

import json
import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from podpass.crypto.jose import b64encode, public_key_id, rsa_jwk
from podpass.errors import Error

VerificationKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]{1,100000}-----END \1-----")
_EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


class NoPublicKey(Error):
    """A file contains no key that can be published, or one of an unsupported kind."""

    code = "no_public_key"
    hint = "use PEM files with RSA keys, or EC keys on P-256, P-384 or P-521"


def load_public_keys(data: bytes) -> list[VerificationKey]:
    """Return the public keys of all PEM blocks: keys, certificates, and the public part of private keys.

    Raises NoPublicKey.
    """
    found = []
    for block in _BLOCK.finditer(data):
        key = _load_block(block[1], block[0] + b"\n")
        if isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            found.append(key)
    if not found:
        raise NoPublicKey("data does not contain any valid RSA or ECDSA public keys")
    return found


def _load_block(label: bytes, block: bytes) -> object:
    """Return the public key of a block, None for a block of another kind."""
    try:
        if label == b"CERTIFICATE":
            return x509.load_pem_x509_certificate(block).public_key()
        if label.endswith(b"PUBLIC KEY"):
            return serialization.load_pem_public_key(block)
        if label.endswith(b"PRIVATE KEY"):
            return serialization.load_pem_private_key(block, password=None).public_key()
    except (ValueError, TypeError):
        return None
    return None


def format_jwks(keys: Sequence[VerificationKey]) -> str:
    """Format keys as a JWKS, indented by two spaces and without a final newline.

    Raises NoPublicKey for an EC key on another curve.
    """
    return json.dumps({"keys": [_to_jwk(key) for key in keys]}, indent=2)


def _to_jwk(key: VerificationKey) -> dict[str, object]:
    kid = public_key_id(key)
    if isinstance(key, rsa.RSAPublicKey):
        return rsa_jwk(key, kid)
    name = key.curve.name
    if name not in _CURVES:
        raise NoPublicKey("unknown private key curve, must be 256, 384, or 521")
    size, numbers = (key.curve.key_size + 7) // 8, key.public_numbers()
    return {
        "use": "sig",
        "kty": "EC",
        "kid": kid,
        "crv": _CURVES[name],
        "alg": _EC_ALGORITHMS[name],
        "x": b64encode(numbers.x.to_bytes(size)),
        "y": b64encode(numbers.y.to_bytes(size)),
    }
