"""A secret value that logs and messages do not show."""

import hashlib
import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, eq=False)
class Secret:
    """Hold a token, password or key so that no log, repr or f-string shows it."""

    _value: str = field(repr=False)

    def __str__(self) -> str:
        return "[secret]"

    def reveal(self) -> str:
        """Return the value."""
        return self._value

    def matches(self, other: str) -> bool:
        """Compare with a text in constant time."""
        return hmac.compare_digest(self._value.encode(), other.encode())


def fingerprint(token: str) -> str:
    """Return a short hash that identifies a token in a log."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]
