"""A number, or the whole text of an error, in; what it means and what to do, out. Pure.

The page of errors, the error page and `podpass explain` all say this.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from podpass import guids
from podpass.exchange.errors.catalogue import TABLE
from podpass.exchange.errors.model import status_of
from podpass.exchange.errors.other_errors import ELSEWHERE_ROWS

MAX_CODES = 20
_NAMED = re.compile(r"AADSTS\s?([0-9]{5,8})", re.IGNORECASE)
_LISTED = re.compile(r'error_codes\\?["\']?\s*[:=]\s*\[([0-9,\s]+)\]')
_CODE = r"(?:[0-9]{4,8}|AADSTS\s?[0-9]{1,8})"
_BARE = re.compile(rf"\s*{_CODE}(?:[\s,]+{_CODE})*\s*", re.IGNORECASE)
_SIGNS = r'["\'\\:=\s]{1,6}'
_FACTS = {
    "correlation_id": re.compile(rf"correlation[ _-]id{_SIGNS}({guids.PATTERN})", re.IGNORECASE),
    "trace_id": re.compile(rf"trace[ _-]id{_SIGNS}({guids.PATTERN})", re.IGNORECASE),
    "timestamp": re.compile(
        rf"timestamp{_SIGNS}([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[ T][0-9:]{{8}}Z)", re.IGNORECASE
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known of one number.

    Shapes:  `says` is our sentence, names of values in braces, and `step` the check that refuses; both
             empty for a number that only Entra answers.
    """

    number: int
    error: str
    status: int
    meaning: str
    cure: str
    says: str = ""
    step: str = ""

    @property
    def name(self) -> str:
        return f"AADSTS{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the text of an error holds: its numbers as they come, and by what it can be looked up."""

    numbers: tuple[int, ...]
    facts: Mapping[str, str]


def find(number: int) -> Explanation | None:
    """Look a number up; None for one that is not known."""
    return _KNOWN.get(number)


def nearest(number: int) -> tuple[int, ...]:
    """Name the known numbers that look most like an unknown one."""
    close = difflib.get_close_matches(str(number), [str(each) for each in _KNOWN], n=3, cutoff=0.7)
    return tuple(int(each) for each in close)


def known() -> tuple[int, ...]:
    """List every number that is known, in ascending order."""
    return tuple(sorted(_KNOWN))


def read(text: str) -> Found:
    """Pick numbers, ids and time out of an error's text, as a program, a log or a page shows it."""
    if _BARE.fullmatch(text):
        numbers = [int(each) for each in re.findall("[0-9]+", text)]
    else:
        numbers = [int(each) for each in _NAMED.findall(text)]
        for several in _LISTED.findall(text):
            numbers += [int(each) for each in re.findall(r"[0-9]{1,8}", several)]
    found = {name: match[1] for name, pattern in _FACTS.items() if (match := pattern.search(text))}
    return Found(numbers=tuple(dict.fromkeys(numbers))[:MAX_CODES], facts=found)


def _all() -> dict[int, Explanation]:
    ours = {
        row.number: Explanation(
            number=row.number,
            error=row.error,
            status=row.status,
            meaning=row.meaning,
            cure=row.cure,
            says=row.text,
            step=row.step,
        )
        for row in TABLE.values()
    }
    theirs = {
        row.number: Explanation(
            number=row.number,
            error=row.error,
            status=status_of(row.error),
            meaning=row.meaning,
            cure=row.cure,
        )
        for row in ELSEWHERE_ROWS
    }
    return {**theirs, **ours}


_KNOWN = _all()
