"""A signing key and its certificate: made, written as text, read back."""

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

    Shapes:  the key's id is the certificate's thumbprint, base64url of SHA-1, as Entra names keys;
             `certificate` is DER.
    """

    signing: jose.SigningKey
    certificate: bytes = field(repr=False)

    @property
    def kid(self) -> str:
        return self.signing.kid

    @property
    def public(self) -> rsa.RSAPublicKey:
        return self.signing.key.public_key()


def generate(now: float) -> AuthorityKey:
    """Make a key; it takes a tenth of a second, in which other threads go on."""
    private = jose.generate_rsa()
    return _key(private, _certify(private, now))


async def several(number: int, now: float) -> Sequence[AuthorityKey]:
    """Make keys beside the loop: each takes long."""
    making = [asyncio.to_thread(generate, now) for _ in range(number)]
    return await asyncio.gather(*making)


def write(key: AuthorityKey) -> bytes:
    """Write a key as PEM, its private half first; whoever stores it seals it."""
    certificate = ssl.DER_cert_to_PEM_cert(key.certificate)
    return jose.private_pem(key.signing.key) + certificate.encode()


def read(data: bytes) -> AuthorityKey:
    """Read a key from PEM.

    Errors:  ValueError, jose.BadKey.
    """
    private, _, certificate = data.decode("ascii").partition(_BEGIN)
    return _key(jose.load_private_pem(private.encode()), _BEGIN + certificate)


def _key(private: rsa.RSAPrivateKey, certificate: str) -> AuthorityKey:
    der = ssl.PEM_cert_to_DER_cert(certificate)
    # SHA-1 names the certificate here, as `x5t` is defined; it protects nothing.
    thumbprint = jose.b64encode(hashlib.sha1(der, usedforsecurity=False).digest())
    return AuthorityKey(signing=jose.SigningKey(kid=thumbprint, key=private), certificate=der)


def _certify(private: rsa.RSAPrivateKey, now: float) -> str:
    from cryptography import x509  # 9 MB that only a process making keys needs
    from cryptography.hazmat.primitives import hashes, serialization

    name = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, "accounts.accesscontrol.windows.net")]
    )
    begins = datetime.fromtimestamp(int(now), UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=_CERTIFICATE_DAYS))
        .sign(private, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
