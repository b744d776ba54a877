"""Values at rest: AES-256-GCM under a key that is kept apart from the database.

A copy of the database alone, in a backup or a bug report, shows no value; a value moved to another place
does not open.
"""

import binascii
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from podpass import files
from podpass.errors import Error

KEY_BYTES = 32
_NONCE_BYTES = 12


class SealingKeyUnfit(Error):
    """The key that values are sealed with is missing, damaged, or another one's."""

    code = "sealing_key_unfit"
    hint = "put the sealing key that belongs to this database back"


class Sealer:
    """Seal and open values with one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def from_file(cls, path: Path, *, make: bool) -> "Sealer":
        """Read the key, making it only where nothing can be sealed with another one yet.

        Shapes:  the file holds 32 bytes as they are, or in base64.
        Errors:  SealingKeyUnfit.
        """
        if make and not path.exists():
            files.private_folder(path.parent)
            # Of several processes that start at once, one makes it, and all read that one.
            files.create_private(path, os.urandom(KEY_BYTES))
        try:
            data = path.read_bytes()
        except OSError as exc:
            said = f"the sealing key {path} cannot be read: {exc.strerror}"
            raise SealingKeyUnfit(said, file=str(path)) from exc
        return cls(read_key(data, str(path)))

    def seal(self, value: bytes, place: str) -> bytes:
        """Encrypt a value for one place, and only that."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Decrypt a value at its place.

        Errors:  SealingKeyUnfit.
        """
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, body, place.encode())
        except (InvalidTag, ValueError) as exc:
            raise SealingKeyUnfit("a value does not open with this sealing key") from exc


def read_key(data: bytes, name: str) -> bytes:
    """Read a sealing key.

    Errors:  SealingKeyUnfit.
    """
    if len(data) == KEY_BYTES:
        return data
    try:
        key = binascii.a2b_base64(data.strip(), strict_mode=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SealingKeyUnfit(f"{name} holds no sealing key of {KEY_BYTES} bytes", file=name)
    return key
