"""Explains AADSTS errors: finds the numbers in a text, and returns the cause and resolution of each. Pure.

`docs/errors.md`, the error page and `podpass explain` show these explanations.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from podpass import guids
from podpass.exchange.errors import issuer_reasons
from podpass.exchange.errors.catalogue import ENTRA_ONLY_ROWS, TABLE
from podpass.exchange.errors.model import http_status

MAX_CODES = 20
ISSUER_FAILED = 501661
_REASON = re.compile(r"\((\w+)\)")
_NAMED = re.compile(r"AADSTS\s?([0-9]{5,8})", re.IGNORECASE)
_LISTED = re.compile(r'error_codes\\?["\']?\s*[:=]\s*\[([0-9,\s]+)\]')
_CODE = r"(?:[0-9]{4,8}|AADSTS\s?[0-9]{1,8})"
_MAX_MESSAGE = 600
_MESSAGE_END = re.compile(r'\s*(?:Trace ID:|Correlation ID:|[\n\r"\\])')
_BARE = re.compile(rf"\s*{_CODE}(?:[\s,]+{_CODE})*\s*", re.IGNORECASE)
_SEPARATOR = r'["\'\\:=\s]{1,6}'
_FACTS = {
    "correlation_id": re.compile(
        rf"correlation[ _-]id{_SEPARATOR}({guids.PATTERN})", re.IGNORECASE
    ),
    "trace_id": re.compile(rf"trace[ _-]id{_SEPARATOR}({guids.PATTERN})", re.IGNORECASE),
    "timestamp": re.compile(
        rf"timestamp{_SEPARATOR}([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[ T][0-9:]{{8}}Z)", re.IGNORECASE
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The explanation of one number.

    `says` is the message, with the names of its values in braces; `step` is the check that fails; both are
    empty for a number that only Entra returns.
    """

    number: int
    error: str
    status: int
    cause: str
    resolution: str
    says: str = ""
    step: str = ""

    @property
    def name(self) -> str:
        return f"AADSTS{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedError:
    """The numbers in the text of an error, in their order, and its correlation ID, trace ID and timestamp.

    `messages` has the message that follows a number in the text, without these IDs.
    """

    numbers: tuple[int, ...]
    facts: Mapping[str, str]
    messages: Mapping[int, str] = field(default_factory=dict)


def find_explanation(number: int, message: str = "") -> Explanation | None:
    """Return the explanation of a number; None if it is unknown.

    With the message of an issuer's failure (501661), its resolution is that of the reason in it.
    """
    found = _KNOWN.get(number)
    reason = _REASON.search(message) if number == ISSUER_FAILED else None
    if found is None or reason is None or reason[1] not in issuer_reasons.REASONS:
        return found
    return replace(found, resolution=_sentence(issuer_reasons.REASONS[reason[1]][1]))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def similar_numbers(number: int) -> tuple[int, ...]:
    """Return the known numbers that are most similar to an unknown one."""
    close = difflib.get_close_matches(str(number), [str(each) for each in _KNOWN], n=3, cutoff=0.7)
    return tuple(int(each) for each in close)


def known_numbers() -> tuple[int, ...]:
    """Return every known number, in ascending order."""
    return tuple(sorted(_KNOWN))


def parse_error_text(text: str) -> ParsedError:
    """Extract numbers, IDs and timestamp from an error's text, as a program, a log or a page shows it."""
    if _BARE.fullmatch(text):
        numbers = [int(each) for each in re.findall("[0-9]+", text)]
    else:
        numbers = [int(each) for each in _NAMED.findall(text)]
        for several in _LISTED.findall(text):
            numbers += [int(each) for each in re.findall(r"[0-9]{1,8}", several)]
    found = {name: match[1] for name, pattern in _FACTS.items() if (match := pattern.search(text))}
    first = tuple(dict.fromkeys(numbers))[:MAX_CODES]
    messages = {number: said for number in first if (said := _find_message(text, number))}
    return ParsedError(numbers=first, facts=found, messages=messages)


def _find_message(text: str, number: int) -> str:
    """Return the message after a number; empty if there is none, or if it is too long."""
    _, _, rest = text.partition(f"AADSTS{number}: ")
    said = _MESSAGE_END.split(rest[: _MAX_MESSAGE + 1], maxsplit=1)[0].strip()
    return said if len(said) <= _MAX_MESSAGE else ""


def _build_explanations() -> dict[int, Explanation]:
    own = {
        row.number: Explanation(
            number=row.number,
            error=row.error,
            status=row.status,
            cause=row.cause,
            resolution=row.resolution,
            says=row.text,
            step=row.step,
        )
        for row in TABLE.values()
    }
    entra_only = {
        row.number: Explanation(
            number=row.number,
            error=row.error,
            status=http_status(row.error),
            cause=row.cause,
            resolution=row.resolution,
        )
        for row in ENTRA_ONLY_ROWS
    }
    return {**entra_only, **own}


_KNOWN = _build_explanations()
