"""The issuer's signing keys: one signs, those not yet withdrawn are published.

Kept as one PEM file a key, numbered in the order they came; the last is the active one. A crash at any
moment leaves either the state before or the state after.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from podpass import files
from podpass.crypto import jose
from podpass.errors import Error

_SUFFIX = ".pem"


class KeyRingError(Error):
    """The ring cannot be read, or a key cannot be withdrawn."""

    code = "key_ring"


class KeyRing:
    """RSA keys named by kube-apiserver's rule, kept in a folder only its owner can read."""

    def __init__(self, folder: Path, keys: dict[Path, jose.SigningKey]) -> None:
        self._folder = folder
        self._keys = keys

    @classmethod
    def open(cls, folder: Path) -> "KeyRing":
        """Read the keys of a folder, and make the first one where there is none.

        Errors:  KeyRingError, naming the file that is not a private key.
        """
        files.create_private_folder(folder)
        ring = cls(folder, {path: _read(path) for path in sorted(folder.glob("*" + _SUFFIX))})
        if not ring._keys:
            ring.rotate()
        return ring

    @property
    def active(self) -> jose.SigningKey:
        """Give the key that signs."""
        return list(self._keys.values())[-1]

    @property
    def public(self) -> Sequence[jose.PublicKey]:
        """Give the keys to publish, the active one first."""
        return [
            jose.PublicKey(kid=key.kid, algs=frozenset({"RS256"}), key=key.key.public_key())
            for key in reversed(self._keys.values())
        ]

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign claims with the active key; the header is that of kube-apiserver, `alg` and `kid` only."""
        return self.active.sign(claims)

    def rotate(self) -> jose.SigningKey:
        """Make a new key and sign with it from now on; older keys stay published."""
        number = int(max(self._keys).stem) + 1 if self._keys else 1
        path = self._folder / f"{number:06d}{_SUFFIX}"
        key = jose.generate_rsa()
        files.write_private(path, jose.private_key_pem(key))
        self._keys[path] = jose.SigningKey(kid=jose.public_key_id(key.public_key()), key=key)
        return self._keys[path]

    def retire(self, kid: str) -> None:
        """Withdraw a key: its tokens stop being accepted once caches have aged.

        Errors:  KeyRingError for the active key and for one that is not here.
        """
        if kid == self.active.kid:
            raise KeyRingError("the active key cannot be withdrawn", hint="rotate first", kid=kid)
        for path, key in self._keys.items():
            if key.kid == kid:
                files.remove(path)
                del self._keys[path]
                return
        raise KeyRingError("no such key", kid=kid)


def _read(path: Path) -> jose.SigningKey:
    try:
        number, key = int(path.stem), jose.load_private_pem(path.read_bytes())
    except (ValueError, jose.BadKey) as exc:
        raise KeyRingError(
            f"{path} is not a numbered RSA private key",
            hint="move the file out of the folder; the issuer signs with the last of its keys",
            path=str(path),
        ) from exc
    if number < 1:
        raise KeyRingError(f"{path}: keys are numbered from 1", path=str(path))
    return jose.SigningKey(kid=jose.public_key_id(key.public_key()), key=key)
