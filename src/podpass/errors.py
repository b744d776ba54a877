"""The root of every exception podpass raises.

    Error                    code, status, hint; facts as keyword arguments
    +- UsageError            the caller asked for something that cannot be (exit code 2)
    +- SettingsError         a setting is missing or wrong; lists every problem at once

Stages derive their own errors from `Error` in their own folder. Only edges catch `Error`, each with one
translator; whatever is not an `Error` is a bug and answered as such.
"""


class Error(Exception):
    """Say what went wrong in one sentence, and what to do next in `hint`.

    Shapes:  `code` is a stable slug, `status` the HTTP status an edge answers, `facts` the values
             concerned, by name. None of them may hold a token, a key or a remote body.
    """

    code: str = "error"
    status: int = 500
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        if hint is not None:
            self.hint = hint


class UsageError(Error):
    """The command or request cannot be carried out as asked."""

    code = "usage"
    status = 400


class SettingsError(Error):
    """One or more settings are missing or wrong."""

    code = "settings"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems), problems=problems)
        self.problems = problems
