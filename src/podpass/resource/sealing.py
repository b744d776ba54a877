"""Secret values at rest: AES-256-GCM under a key of the vault's own, kept apart from the database.

A copy of the database alone, in a backup or a bug report, shows no value; a value moved to another name,
vault or version does not open.
"""

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from podpass import files
from podpass.errors import Error
from podpass.secret import Secret

_KEY_BYTES = 32
_NONCE_BYTES = 12


class SealingKeyUnfit(Error):
    """The key that values are sealed with is missing, damaged, or another vault's."""

    code = "sealing_key_unfit"
    hint = "put the instance's own key file back, or begin with a new data dir"


class Sealer:
    """Seal and open values with one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def from_file(cls, path: Path, *, make: bool) -> "Sealer":
        """Read the key, making it only where nothing can be sealed with another one yet.

        Errors:  SealingKeyUnfit.
        """
        try:
            key = path.read_bytes()
        except FileNotFoundError as exc:
            if not make:
                raise SealingKeyUnfit(f"{path.name} is missing", file=path.name) from exc
            files.private_folder(path.parent)
            key = os.urandom(_KEY_BYTES)
            files.write_private(path, key)
        if len(key) != _KEY_BYTES:
            raise SealingKeyUnfit(f"{path.name} is damaged", file=path.name)
        return cls(key)

    def seal(self, value: Secret, place: str) -> bytes:
        """Encrypt a value for one place, and only that."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value.reveal().encode(), place.encode())

    def open(self, sealed: bytes, place: str) -> Secret:
        """Decrypt a value at its place.

        Errors:  SealingKeyUnfit.
        """
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return Secret(self._cipher.decrypt(nonce, body, place.encode()).decode())
        except (InvalidTag, ValueError) as exc:
            raise SealingKeyUnfit("a value does not open with this key") from exc
