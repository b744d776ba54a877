"""What the service gives out and reads again alone: sealed with a key of its own, so that it keeps no table.

The key lies beside the signing keys; replicas that share the folder read each other's seals. A seal is
for one purpose, named when it is made: one kind never passes for another.
"""

import os
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from podpass import files, jose
from podpass.errors import Error

KEY_FILE = "seal.key"
MAX_CHARS = 48 * 1024
_KEY_BYTES = 32
_NONCE_BYTES = 12


class SealError(Error):
    """The key file is unfit."""

    code = "seal_key"


class BrokenSeal(Error):
    """The text is not one of ours, is for another purpose, or was changed."""

    code = "broken_seal"
    status = 400


class Seal:
    """Seal small values, and read them back."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def open(cls, folder: Path) -> "Seal":
        """Read the key of a folder, or make it.

        Errors:  SealError.
        """
        path = folder / KEY_FILE
        if not path.exists():
            files.private_folder(folder)
            files.write_private(path, os.urandom(_KEY_BYTES))
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise SealError(
                f"{path} is not a key of {_KEY_BYTES} bytes",
                hint="delete it; whoever is signed in then has to sign in again",
            )
        return cls(key)

    def close(self, purpose: str, value: dict[str, Any]) -> str:
        """Seal a value for a purpose, as base64url."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, orjson.dumps(value), purpose.encode())
        return jose.b64encode(nonce + sealed)

    def read(self, purpose: str, text: str) -> dict[str, Any]:
        """Read what was sealed for this purpose.

        Errors:  BrokenSeal.
        """
        if len(text) > MAX_CHARS:
            raise BrokenSeal("too long")
        try:
            data = jose.b64decode(text)
            opened = self._cipher.decrypt(
                data[:_NONCE_BYTES], data[_NONCE_BYTES:], purpose.encode()
            )
        except (jose.MalformedToken, InvalidTag, ValueError) as exc:
            raise BrokenSeal("not sealed here for this purpose") from exc
        return jose.loads_object(opened)
