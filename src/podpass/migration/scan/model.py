"""Data types of a scan: what a file says about a library, and the decision about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from podpass.errors import Error

NOT_DECIDED = "not decided"


class Result(StrEnum):
    """The step that a library needs, from none to the largest."""

    NONE = "no migration step needed"
    CHECK = "check by hand"
    UPDATE = "update"
    SIDECAR = "sidecar until then"


class Precision(StrEnum):
    """How exactly a file gives the version of a library."""

    EXACT = "exact"
    AT_LEAST = "at least"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Mention:
    """A library in a file; `version` is empty if the precision is UNKNOWN."""

    ecosystem: str
    library: str
    version: str = ""
    precision: Precision = Precision.EXACT


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryFinding:
    """A library, the file with it, and the decision."""

    ecosystem: str
    library: str
    version: str
    path: str
    result: Result
    minimum: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Report:
    """The result of one target; `notes` say what was not read."""

    target: str
    findings: Sequence[LibraryFinding] = ()
    notes: list[str] = field(default_factory=list)
    is_complete: bool = True

    @property
    def conclusion(self) -> str:
        """Return the result, or "not decided" if an incomplete scan has no findings."""
        return str(self.result) if self.findings or self.is_complete else NOT_DECIDED

    @property
    def result(self) -> Result:
        """Return the largest step of all findings."""
        order = list(Result)
        return max((each.result for each in self.findings), key=order.index, default=Result.NONE)


class ContentStream(Protocol):
    """A file that is read once, from its start."""

    def read(self, size: int = -1, /) -> bytes: ...


class ScanFailed(Error):
    """A target cannot be scanned."""

    code = "scan_failed"


class LimitExceeded(ScanFailed):
    """The content of a target exceeds a limit; it may be damaged or made to exhaust memory or time."""

    code = "scan_limit_exceeded"
    hint = "scan a folder with the files of the program, or remove the content named above from the image"


def printable(text: str) -> str:
    """Return the text with control and direction characters as escapes, so that a terminal is safe."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
