"""The issuer's signing keys: the active key signs, and all keys that are not withdrawn are published.

Each key is a PEM file; the files are numbered in the order of creation, and the last key is the active one.
After a crash at any moment, the folder has either the old or the new state.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from podpass import files
from podpass.crypto import jose
from podpass.errors import Error

_SUFFIX = ".pem"


class KeyRingError(Error):
    """The keys cannot be read, or a key cannot be withdrawn."""

    code = "key_ring"


class KeyRing:
    """RSA keys with key IDs as in kube-apiserver, stored in a folder that only its owner can read."""

    def __init__(self, folder: Path, keys: dict[Path, jose.SigningKey]) -> None:
        self._folder = folder
        self._keys = keys

    @classmethod
    def open(cls, folder: Path) -> "KeyRing":
        """Read the keys of a folder; create the first key if there is none.

        Errors:  KeyRingError, naming the file that is not a private key.
        """
        files.create_private_folder(folder)
        ring = cls(folder, {path: _read(path) for path in sorted(folder.glob("*" + _SUFFIX))})
        if not ring._keys:
            ring.rotate()
        return ring

    @property
    def active(self) -> jose.SigningKey:
        """Return the key that signs."""
        return list(self._keys.values())[-1]

    @property
    def public(self) -> Sequence[jose.PublicKey]:
        """Return the keys to publish, the active key first."""
        return [
            jose.PublicKey(kid=key.kid, algs=frozenset({"RS256"}), key=key.key.public_key())
            for key in reversed(self._keys.values())
        ]

    def sign(self, claims: dict[str, Any]) -> str:
        """Sign claims with the active key; the header is that of kube-apiserver, `alg` and `kid` only."""
        return self.active.sign(claims)

    def rotate(self) -> jose.SigningKey:
        """Create a new key that signs from now on; older keys stay published."""
        number = int(max(self._keys).stem) + 1 if self._keys else 1
        path = self._folder / f"{number:06d}{_SUFFIX}"
        key = jose.generate_rsa()
        files.write_private(path, jose.private_key_pem(key))
        self._keys[path] = jose.SigningKey(kid=jose.public_key_id(key.public_key()), key=key)
        return self._keys[path]

    def retire(self, kid: str) -> None:
        """Withdraw a key: clients refuse its tokens when their cached copies of the keys have expired.

        Errors:  KeyRingError for the active key and for an unknown key.
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
