"""The base class of every exception that kubeling raises."""


class Error(Exception):
    """An error with one sentence about its cause; `hint` says how to fix it.

    `code` is a stable slug, `status` the HTTP status that an edge returns, `facts` the related values by
    name. None of them may contain a token or a key.
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
        if self.hint:
            self.add_note(f"Fix: {self.hint}")  # a traceback and pytest show notes


class DamagedFile(Error):
    """A file of a data folder does not have its content."""

    code = "damaged_file"
