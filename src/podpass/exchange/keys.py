"""The token service's signing keys: always one ahead of the one in use, so that nobody meets a new key.

One PEM file a key, its private key and a self-signed certificate, numbered; `active` names the number that
signs. Rotation moves on to a key that has long been published, and makes the next.
"""

import hashlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from podpass import files, jose
from podpass.errors import Error
from podpass.exchange.seal import Seal

_SUFFIX = ".pem"
_ACTIVE = "active"
_BEGIN = "-----BEGIN CERTIFICATE-----"
_CERTIFICATE_DAYS = 5 * 365


class AuthorityKeysError(Error):
    """The keys cannot be read, or a key cannot be withdrawn."""

    code = "authority_keys"


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


class AuthorityKeys:
    """The keys of one token service, kept in a folder only its owner can read."""

    def __init__(self, folder: Path, keys: dict[int, AuthorityKey], active: int) -> None:
        self.seal = Seal.open(folder)
        self._folder = folder
        self._keys = keys
        self._active = active

    @classmethod
    def open(cls, folder: Path) -> "AuthorityKeys":
        """Read the keys of a folder, and make what is missing: one to sign, one to come.

        Errors:  AuthorityKeysError and SealError, naming the file that is unfit.
        """
        files.private_folder(folder)
        found = [_read(path) for path in sorted(folder.glob("*" + _SUFFIX))]
        keys = cls(folder, dict(found), 0)
        keys._active = _read_active(folder) or min(keys._keys, default=1)
        while max(keys._keys, default=0) < keys._active + 1:
            keys._add()
        if keys._active not in keys._keys:
            raise AuthorityKeysError(
                f"{folder / _ACTIVE} names a key that is not there",
                hint=f"put {keys._active:06d}{_SUFFIX} back, or delete {_ACTIVE}",
            )
        return keys

    @property
    def active(self) -> jose.SigningKey:
        """Give the key that signs."""
        return self._keys[self._active].signing

    @property
    def published(self) -> Sequence[AuthorityKey]:
        """Give every key that a token may be signed with, now or soon."""
        return tuple(self._keys.values())

    def rotate(self) -> jose.SigningKey:
        """Sign with the next key, and publish one more; older keys stay until they are retired."""
        files.write_private(self._folder / _ACTIVE, str(self._active + 1).encode())
        self._active += 1
        self._add()
        return self.active

    def retire(self, kid: str) -> None:
        """Withdraw an old key; the tokens it signed are worthless from then on.

        Errors:  AuthorityKeysError for the active and the coming key, and for one that is not here.
        """
        for number, key in self._keys.items():
            if key.kid == kid and number < self._active:
                files.remove(self._path(number))
                del self._keys[number]
                return
        raise AuthorityKeysError("no such key among those out of use", hint="rotate first", kid=kid)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}{_SUFFIX}"

    def _add(self) -> None:
        number = max(self._keys, default=0) + 1
        private = jose.generate_rsa()
        certificate = _certify(private)
        pem = jose.private_pem(private) + certificate.encode()
        files.write_private(self._path(number), pem)
        self._keys[number] = _key(private, certificate)


def _key(private: rsa.RSAPrivateKey, certificate: str) -> AuthorityKey:
    der = ssl.PEM_cert_to_DER_cert(certificate)
    # SHA-1 names the certificate here, as `x5t` is defined; it protects nothing.
    thumbprint = jose.b64encode(hashlib.sha1(der, usedforsecurity=False).digest())
    return AuthorityKey(signing=jose.SigningKey(kid=thumbprint, key=private), certificate=der)


def _read(path: Path) -> tuple[int, AuthorityKey]:
    try:
        text = path.read_text("ascii")
        private, _, certificate = text.partition(_BEGIN)
        return int(path.stem), _key(jose.load_private_pem(private.encode()), _BEGIN + certificate)
    except (ValueError, jose.BadKey) as exc:
        raise AuthorityKeysError(
            f"{path} is not a numbered key with its certificate",
            hint="move the file out of the folder",
            path=str(path),
        ) from exc


def _read_active(folder: Path) -> int | None:
    try:
        return int((folder / _ACTIVE).read_text("ascii"))
    except FileNotFoundError:
        return None
    except ValueError as exc:
        raise AuthorityKeysError(f"{folder / _ACTIVE} holds no number") from exc


def _certify(private: rsa.RSAPrivateKey) -> str:
    from cryptography import x509  # 9 MB that only a process making keys needs
    from cryptography.hazmat.primitives import hashes, serialization

    name = x509.Name(
        [x509.NameAttribute(x509.NameOID.COMMON_NAME, "accounts.accesscontrol.windows.net")]
    )
    begins = datetime.now(UTC).replace(microsecond=0)
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
