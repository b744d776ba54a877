"""The protocol of a target, and its error."""

from typing import Protocol

from podpass.errors import Error

# Verifiers may cache a document for this long. It is shorter than every wait of a rotation.
CACHE_CONTROL = "public, max-age=300"
TIMEOUT_SECONDS = 30


class TargetError(Error):
    """A target cannot be read or written; the message has no part of a remote body."""

    code = "issuer_target"


class PublishTarget(Protocol):
    """A place with files that verifiers read by HTTPS."""

    @property
    def name(self) -> str:
        """Return the target for messages, without a secret."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return a file; None if it does not exist. Raises TargetError."""
        ...

    def write(self, path: str, body: bytes) -> float | None:
        """Replace a file atomically; return the time of the target's clock if it reports one.

        Raises TargetError; the old file is then unchanged.
        """
        ...
