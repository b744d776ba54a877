"""Every refusal of the token service: number, OAuth error, what is true then, and what to do.

`TABLE` is the only place that knows them; the edge and the documentation read it. The
numbers are Entra's, the sentences are ours.
"""

from typing import Self

from podpass.errors import Error
from podpass.exchange.errors.assertion_errors import ASSERTION_ROWS
from podpass.exchange.errors.client_errors import CLIENT_ROWS, UNIFORM_ROWS
from podpass.exchange.errors.model import STEPS, Aadsts, fact, shown, status_of
from podpass.exchange.errors.user_errors import USER_ROWS

__all__ = ["STEPS", "TABLE", "Aadsts", "Refused", "shown"]

_ROWS = (*CLIENT_ROWS, *ASSERTION_ROWS, *UNIFORM_ROWS, *USER_ROWS)
TABLE = {entry.number: entry for entry in _ROWS}


class Refused(Error):
    """A request is refused; the number says why, the facts say on which values."""

    code = "refused"

    def __init__(self, number: int, **facts: object) -> None:
        self.entry = TABLE[number]
        super().__init__(self.entry.text.format_map({k: fact(k, v) for k, v in facts.items()}))
        self.facts = facts
        self.hint = self.entry.cure
        self.error = self.entry.error
        self.step = self.entry.step
        self.status = self.entry.status
        self.retry_seconds: float | None = None

    def answered(
        self,
        *,
        error: str | None = None,
        step: str | None = None,
        status: int | None = None,
        retry_seconds: float | None = None,
    ) -> Self:
        """Change how this one case is answered, where Entra's wire or our order differs.

        Units:   `retry_seconds` until the same request may be granted, where waiting helps.
        """
        self.error = error or self.error
        self.step = step or self.step
        self.status = status or status_of(self.error)
        self.retry_seconds = retry_seconds or self.retry_seconds
        return self

    @property
    def checked(self) -> tuple[str, ...]:
        """Name the steps that had been passed."""
        return STEPS[: STEPS.index(self.step)]
