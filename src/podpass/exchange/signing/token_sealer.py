"""What the service gives out and reads again alone: sealed with a key of its own, so that it keeps no table.

The key lies in the database beside the signing keys, so every replica reads what another sealed. A seal is
for one purpose, named when it is made: one kind never passes for another.
"""

import hashlib
import hmac
from typing import Any

import orjson

from podpass.crypto import jose
from podpass.crypto.envelope import Sealer, SealingKeyUnfit
from podpass.errors import Error

MAX_CHARS = 48 * 1024


class BrokenSeal(Error):
    """The text is not one of ours, is for another purpose, or was changed."""

    code = "broken_seal"
    status = 400


class Seal:
    """Seal small values, and read them back."""

    def __init__(self, key: bytes) -> None:
        self.use(key)

    def use(self, key: bytes) -> None:
        """Seal and read with this key from now on."""
        self._sealer = Sealer(key)
        self._digests = hmac.digest(key, b"digests", "sha256")

    def digest(self, purpose: str, text: str) -> bytes:
        """Name a text by what does not tell it, even to one who tries all texts there are."""
        return hmac.digest(self._digests, f"{purpose}\0{text}".encode(), hashlib.sha256)

    def close(self, purpose: str, value: dict[str, Any]) -> str:
        """Seal a value for a purpose, as base64url."""
        return jose.b64encode(self._sealer.seal(orjson.dumps(value), purpose))

    def read(self, purpose: str, text: str) -> dict[str, Any]:
        """Read what was sealed for this purpose.

        Errors:  BrokenSeal.
        """
        if len(text) > MAX_CHARS:
            raise BrokenSeal("too long")
        try:
            opened = self._sealer.open(jose.b64decode(text), purpose)
        except (jose.MalformedToken, SealingKeyUnfit) as exc:
            raise BrokenSeal("not sealed here for this purpose") from exc
        return jose.loads_object(opened)
