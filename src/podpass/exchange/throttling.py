"""How the edges ask whoever decides how much one client and one address may ask."""

from typing import Protocol

from podpass.exchange.errors.catalogue import Refused
from podpass.http.server import Scope

_TOO_MANY = 429


class Gate(Protocol):
    """Whoever decides how much one client and one address may ask."""

    def admit(self, source: str, client_id: str) -> float | None: ...
    def granted(self, source: str, client_id: str) -> None: ...
    def refused(self, source: str) -> None: ...
    def begins_device(self, source: str) -> float | None: ...


def admit(wait: float | None) -> None:
    """Let a request go on if a gate does.

    Errors:  Refused 90055.
    """
    if wait is not None:
        raise too_many(wait)


def too_many(wait: float) -> Refused:
    """Refuse what is asked too often, and say when to ask again.

    Units:   `wait` in seconds.
    """
    return Refused(90055).answered(step="wire", status=_TOO_MANY, retry_seconds=wait)


def is_throttled(refused: Refused) -> bool:
    """Tell whether a request only came too early."""
    return refused.status == _TOO_MANY


def is_fault_of_caller(status: int) -> bool:
    """Tell whether an answer counts against the address that asked; one that only came too early does not."""
    return 400 <= status < 500 and status != _TOO_MANY


def source_of(scope: Scope) -> str:
    """Give the address a request came from."""
    client = scope.get("client")
    return client[0] if client else ""
