"""Public keys of an issuer as PEM."""

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from podpass.crypto.jose import BadKey


def encode(key: rsa.RSAPublicKey) -> str:
    """Return a public key as PEM."""
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode("ascii")


def load(pem: str) -> rsa.RSAPublicKey:
    """Load an RSA public key. Raises BadKey for any other text."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError as exc:
        raise BadKey("not a PEM public key") from exc
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadKey("not an RSA public key")
    return key


def der(key: rsa.RSAPublicKey) -> bytes:
    """Return a public key as DER."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
