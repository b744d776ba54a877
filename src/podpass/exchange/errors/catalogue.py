"""Every error of the token service: AADSTS number, OAuth error, message, cause and resolution.

`TABLE` is the only list of them, read from `errors.toml`; responses and documentation are generated from it.
The numbers are Entra's, the texts are podpass's.
"""

from collections.abc import Mapping
from typing import Self

from podpass.errors import Error
from podpass.exchange.errors import issuer_reasons, numbers
from podpass.exchange.errors.model import (
    DATA,
    STEPS,
    AadstsEntry,
    EntraOnlyEntry,
    format_fact,
    http_status,
    sanitize,
)

__all__ = ["STEPS", "TABLE", "AadstsEntry", "AadstsError", "sanitize"]


def _read(group: str) -> tuple[AadstsEntry, ...]:
    return tuple(
        AadstsEntry(
            number=getattr(numbers, name), **{"resolution": issuer_reasons.RESOLUTION, **row}
        )
        for name, row in DATA[group].items()
    )


CLIENT_ROWS, ASSERTION_ROWS, USER_ROWS = _read("client"), _read("assertion"), _read("user")
UNIFORM_ROWS = _read("uniform")
ENTRA_ONLY_ROWS = tuple(EntraOnlyEntry(**row) for row in DATA["entra_only"])
TABLE = {
    entry.number: entry for entry in (*CLIENT_ROWS, *ASSERTION_ROWS, *UNIFORM_ROWS, *USER_ROWS)
}


class AadstsError(Error):
    """A request is refused: the number gives the reason, the facts give the values."""

    code = "refused"

    def __init__(self, number: int, **facts: object) -> None:
        self.entry = TABLE[number]
        super().__init__(
            self.entry.text.format_map({k: format_fact(k, v) for k, v in facts.items()})
        )
        self.facts = facts
        self.hint = self.entry.resolution
        self.error = self.entry.error
        self.step = self.entry.step
        self.status = self.entry.status
        self.retry_seconds: float | None = None
        self.record: Mapping[str, object] = {}

    def with_response(
        self,
        *,
        error: str | None = None,
        step: str | None = None,
        status: int | None = None,
        retry_seconds: float | None = None,
    ) -> Self:
        """Change the response of this error, for a case in which Entra's response differs from the catalogue.

        Units: `retry_seconds` until the same request may succeed, if waiting helps.
        """
        self.error = error or self.error
        self.step = step or self.step
        self.status = status or http_status(self.error)
        self.retry_seconds = retry_seconds or self.retry_seconds
        return self

    def with_record(self, **facts: object) -> Self:
        """Add facts for the log of the operator, which the caller does not see."""
        self.record = facts
        return self

    @property
    def checked(self) -> tuple[str, ...]:
        """Return the steps that the request passed."""
        return STEPS[: STEPS.index(self.step)]
