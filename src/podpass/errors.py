"""The base class of every exception that podpass raises.

    Error                    code, status, hint; facts as keyword arguments
    +- UsageError            the command or request is invalid (exit code 2)
    +- SettingsError         a setting is missing or wrong; lists all problems

Stages derive their own errors from `Error` in their own folder. Only edges catch `Error`, each with one
translator; every other exception is a bug and returned as an internal error.
"""


class Error(Exception):
    """An error with one sentence about its cause; `hint` says how to fix it.

    `code` is a stable slug, `status` the HTTP status that an edge returns, `exit_code` that of a command,
    `facts` the related values by name. None of them may contain a token, a key or a remote body.
    """

    code: str = "error"
    status: int = 500
    exit_code: int = 1
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        if hint is not None:
            self.hint = hint


class UsageError(Error):
    """The command or request is invalid."""

    code = "usage"
    status = 400
    exit_code = 2


class SettingsError(Error):
    """One or more settings are missing or wrong."""

    code = "settings"
    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems), problems=problems)
        self.problems = problems
