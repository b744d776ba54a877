"""Encryption of stored values: AES-256-GCM with a key that is stored apart from the database.

A copy of the database alone, in a backup or a bug report, reveals no value. A value that is moved to another
row or column does not open.
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


class InvalidSealingKey(Error):
    """The sealing key is missing, damaged, or of another database."""

    code = "invalid_sealing_key"
    hint = "restore the sealing key file that belongs to this database"


class Sealer:
    """Seal and open values with one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def from_file(cls, path: Path, *, make: bool) -> "Sealer":
        """Read the key from a file.

        The file has 32 bytes, raw or in base64. With `make`, a missing file is created; only for a database
        that has no sealed values yet. Raises InvalidSealingKey.
        """
        if make and not path.exists():
            files.create_private_folder(path.parent)
            # If several processes start together, one creates the file and all others read it.
            files.create_private(path, os.urandom(KEY_BYTES))
        try:
            data = path.read_bytes()
        except OSError as exc:
            message = f"the sealing key {path} cannot be read: {exc.strerror}"
            raise InvalidSealingKey(message, file=str(path)) from exc
        return cls(decode_sealing_key(data, str(path)))

    def seal(self, value: bytes, context: str) -> bytes:
        """Encrypt a value for one context, such as one row; it opens in no other context."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, value, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt a value that was sealed for this context. Raises InvalidSealingKey."""
        nonce, body = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, body, context.encode())
        except (InvalidTag, ValueError) as exc:
            raise InvalidSealingKey("a value does not open with this sealing key") from exc


def decode_sealing_key(data: bytes, name: str) -> bytes:
    """Decode a sealing key from raw bytes or base64. Raises InvalidSealingKey."""
    if len(data) == KEY_BYTES:
        return data
    try:
        key = binascii.a2b_base64(data.strip(), strict_mode=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidSealingKey(f"{name} is not a sealing key of {KEY_BYTES} bytes", file=name)
    return key
