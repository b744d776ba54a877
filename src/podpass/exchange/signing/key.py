"""A signing key of the token service with its certificate: generation, PEM encoding and decoding."""

import asyncio
import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import rsa

from podpass.crypto import jose

_BEGIN = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE_DAYS = 5 * 365


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityKey:
    """A signing key and its certificate.

    The key ID is the certificate's thumbprint, base64url of SHA-1, as in Entra; `certificate` is DER.
    """

    signing: jose.SigningKey
    certificate: bytes = field(repr=False)

    @property
    def kid(self) -> str:
        return self.signing.kid

    @property
    def public(self) -> rsa.RSAPublicKey:
        return self.signing.key.public_key()


def generate_key(now: float) -> AuthorityKey:
    """Generate a key; this takes a tenth of a second and releases the GIL."""
    private = jose.generate_rsa()
    return _with_certificate(private, _self_sign(private, now))


async def generate_keys(number: int, now: float) -> Sequence[AuthorityKey]:
    """Generate keys in threads, without blocking the event loop."""
    return await asyncio.gather(*(asyncio.to_thread(generate_key, now) for _ in range(number)))


def to_pem(key: AuthorityKey) -> bytes:
    """Encode a key as PEM, the private key first. The caller must seal it before it stores it."""
    certificate = ssl.DER_cert_to_PEM_cert(key.certificate)
    return jose.private_key_pem(key.signing.key) + certificate.encode()


def from_pem(data: bytes) -> AuthorityKey:
    """Decode a key from PEM. Raises ValueError, jose.BadKey."""
    private, _, certificate = data.decode("ascii").partition(_BEGIN)
    return _with_certificate(jose.load_private_pem(private.encode()), _BEGIN + certificate)


def _with_certificate(private: rsa.RSAPrivateKey, certificate: str) -> AuthorityKey:
    der = ssl.PEM_cert_to_DER_cert(certificate)
    # `x5t` is defined as SHA-1. It identifies the certificate and protects nothing.
    thumbprint = jose.b64encode(hashlib.sha1(der, usedforsecurity=False).digest())
    return AuthorityKey(signing=jose.SigningKey(kid=thumbprint, key=private), certificate=der)


def _self_sign(private: rsa.RSAPrivateKey, now: float) -> str:
    # Imported here, because it costs 9 MB, and only a process that creates keys needs it.
    from podpass.crypto.x509 import build_certificate, build_name, encode_pem

    begins = datetime.fromtimestamp(int(now), UTC)
    certificate = build_certificate(
        subject=build_name("accounts.accesscontrol.windows.net"),
        key=private,
        validity=(begins, begins + timedelta(days=_CERTIFICATE_DAYS)),
    )
    return encode_pem(certificate).decode()
