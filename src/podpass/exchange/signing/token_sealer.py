"""Seals values that only the service itself reads, such as refresh tokens, so that they need no table.

The key is in the database next to the signing keys, so every replica opens what another replica sealed. A
value is sealed for one purpose and does not open for another.
"""

import hashlib
import hmac
from typing import Any

import orjson

from podpass.crypto import jose
from podpass.crypto.envelope import InvalidSealingKey, Sealer
from podpass.errors import Error

MAX_CHARS = 48 * 1024


class BrokenSeal(Error):
    """The text was not sealed by this service, is for another purpose, or was changed."""

    code = "broken_seal"
    status = 400


class TokenSealer:
    """Seal small values and open them again."""

    def __init__(self, key: bytes) -> None:
        self.set_key(key)

    def set_key(self, key: bytes) -> None:
        """Replace the key."""
        self._sealer = Sealer(key)
        self._digests = hmac.digest(key, b"digests", "sha256")

    def digest(self, purpose: str, text: str) -> bytes:
        """Return a keyed digest of a text; without the key, a digest cannot be found by trying all texts."""
        return hmac.digest(self._digests, f"{purpose}\0{text}".encode(), hashlib.sha256)

    def seal(self, purpose: str, value: dict[str, Any]) -> str:
        """Seal a value for a purpose; return it as base64url."""
        return jose.b64encode(self._sealer.seal(orjson.dumps(value), purpose))

    def open(self, purpose: str, text: str) -> dict[str, Any]:
        """Open a value that was sealed for this purpose. Raises BrokenSeal."""
        if len(text) > MAX_CHARS:
            raise BrokenSeal("too long")
        try:
            opened = self._sealer.open(jose.b64decode(text), purpose)
        except (jose.MalformedToken, InvalidSealingKey) as exc:
            raise BrokenSeal("not sealed here for this purpose") from exc
        return jose.loads_object(opened)
