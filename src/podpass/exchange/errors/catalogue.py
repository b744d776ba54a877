"""Every error of the token service: AADSTS number, OAuth error, message, cause and resolution.

`TABLE` is the only list of them; responses and documentation are generated from it. The numbers are Entra's,
the texts are podpass's.
"""

from collections.abc import Mapping
from typing import Self

from podpass.errors import Error
from podpass.exchange.errors.assertion_errors import ASSERTION_ROWS
from podpass.exchange.errors.client_errors import CLIENT_ROWS, UNIFORM_ROWS
from podpass.exchange.errors.model import STEPS, AadstsEntry, format_fact, http_status, sanitize
from podpass.exchange.errors.user_errors import USER_ROWS

__all__ = ["STEPS", "TABLE", "AadstsEntry", "AadstsError", "sanitize"]

_ROWS = (*CLIENT_ROWS, *ASSERTION_ROWS, *UNIFORM_ROWS, *USER_ROWS)
TABLE = {entry.number: entry for entry in _ROWS}


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
