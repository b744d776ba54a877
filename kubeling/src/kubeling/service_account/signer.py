"""The protocol of the signer of ServiceAccount tokens, and a signer with one RSA key.

The API server builds the claims; the signer holds the private key, as with the `ExternalJWTSigner` service
of kube-apiserver.
"""

import base64
import binascii
import hashlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kubeling.errors import DamagedFile, Error
from kubeling.files import write_private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

MAX_TOKEN_CHARS = 16 * 1024


class InvalidSignature(Error):
    """No key of the signer has signed a token, or the text is not a token."""

    code = "invalid_signature"
    status = 401


class TokenSigner(Protocol):
    """Signs tokens, verifies them, and publishes the keys."""

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign claims; the header has `alg` and `kid` only."""

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that a published key has signed; the caller checks the claims.

        Raises InvalidSignature.
        """

    def jwks(self) -> dict[str, Any]:
        """Return the published keys as a JSON Web Key Set."""


def unverified_issuer(token: str) -> str | None:
    """Return `iss` of a token whose signature was not checked; None if the text is not a token."""
    parts = token.split(".")
    if len(parts) != 3 or len(token) > MAX_TOKEN_CHARS:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError, binascii.Error):
        return None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    return issuer if isinstance(issuer, str) else None


class RsaSigner:
    """Signs with an RSA key (RS256), which is created at its first use.

    Without a file, the key exists only in this process.
    """

    def __init__(self, key_file: Path | None = None) -> None:
        self._key_file, self._lock = key_file, threading.Lock()
        self._opened: tuple[RSAPrivateKey, str] | None = None

    @property
    def kid(self) -> str:
        """Return the ID of the key."""
        return self._open()[1]

    def prepare(self) -> None:
        """Open or create the key now: it takes a tenth of a second. Any thread may call this.

        Raises DamagedFile.
        """
        self._open()

    def _open(self) -> "tuple[RSAPrivateKey, str]":
        """Return the key and its ID."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        with self._lock:
            if self._opened is None:
                key = self._load_or_create()
                der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest())
                self._opened = key, digest.rstrip(b"=").decode()
            return self._opened

    def _load_or_create(self) -> "RSAPrivateKey":
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        if self._key_file is not None and self._key_file.exists():
            try:
                loaded = serialization.load_pem_private_key(self._key_file.read_bytes(), None)
            except (ValueError, TypeError):
                loaded = None
            if not isinstance(loaded, rsa.RSAPrivateKey):
                raise DamagedFile(
                    f"{self._key_file} is not an RSA key",
                    hint="remove it to create a new key; earlier tokens of ServiceAccounts end with it",
                )
            return loaded
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        if self._key_file is not None:
            pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            plain = serialization.NoEncryption()
            write_private(self._key_file, key.private_bytes(pem, pkcs8, plain))
        return key

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign claims with RS256."""
        import jwt

        key, kid = self._open()
        return jwt.encode(claims, key, "RS256", headers={"kid": kid, "typ": None})

    def verify(self, token: str) -> dict[str, Any]:
        """Return the claims of a token of this signer. Raises InvalidSignature."""
        import jwt

        options = {
            "verify_aud": False,
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
        }
        try:
            if len(token) > MAX_TOKEN_CHARS:
                raise InvalidSignature("the token is too long")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._open()[0].public_key(),
                algorithms=["RS256"],
                options=options,  # type: ignore[arg-type]
            )
        except jwt.PyJWTError as exc:
            raise InvalidSignature("the signature is not valid") from exc
        return claims

    def jwks(self) -> dict[str, Any]:
        """Return the public key."""
        import jwt

        opened, kid = self._open()
        key = jwt.algorithms.RSAAlgorithm.to_jwk(opened.public_key(), as_dict=True)
        key.pop("key_ops", None)
        return {"keys": [{**key, "kid": kid, "alg": "RS256", "use": "sig"}]}
