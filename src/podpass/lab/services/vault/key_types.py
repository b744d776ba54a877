"""The types of private keys in a standard vault, and how the vault stores them. Pure."""

from collections.abc import Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from podpass.crypto.x509 import PrivateKey

RSA, EC = "RSA", "EC"
KEY_SIZES = (2048, 3072, 4096)
CURVES: Mapping[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "P-256K": ec.SECP256K1(),
}


def curve_name(curve: ec.EllipticCurve) -> str:
    """Return the name of a curve in Key Vault."""
    return next(name for name, known in CURVES.items() if known.name == curve.name)


def encode_key(key: PrivateKey) -> bytes:
    """Encode a private key as PEM in PKCS #8, without encryption."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
