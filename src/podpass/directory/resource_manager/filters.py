"""Parse the `$filter` of Resource Manager: comparisons and functions joined by `and`. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from podpass.directory.resource_manager.errors import ManagerError, bad_request

MAX_CHARS = 2048

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z][A-Za-z0-9_./]*)|(?P<symbol>[(),]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """The conditions of a list.

    `equal` has values by field name, `calls` has arguments by function name; names in lower case.
    """

    equal: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def require_known(self, equal: frozenset[str], calls: frozenset[str] = frozenset()) -> "Filter":
        """Reject conditions that the list does not support; ignoring them would return too many entries.

        Raises ManagerError.
        """
        unknown = [*(self.equal.keys() - equal), *(self.calls.keys() - calls)]
        if unknown:
            raise _unsupported(f"this list cannot be filtered by '{unknown[0]}'")
        return self


def parse(text: str) -> Filter:
    """Parse a filter. Raises ManagerError, InvalidFilterInQueryString."""
    if not text.strip():
        return Filter()
    if len(text) > MAX_CHARS:
        raise _unsupported(f"it is longer than {MAX_CHARS} characters")
    tokens = _Tokens(text)
    equal: dict[str, str] = {}
    calls: dict[str, tuple[str, ...]] = {}
    while True:
        name = tokens.take("name").lower()
        if tokens.peek() == ("symbol", "("):
            calls[name] = _parse_arguments(tokens)
        else:
            if tokens.take("name").lower() != "eq":
                raise _unsupported("only 'eq' and functions are supported")
            if name in equal:
                raise _unsupported(f"'{name}' occurs twice")
            equal[name] = _unquote(tokens.take("text"))
        if tokens.peek() is None:
            return Filter(equal=equal, calls=calls)
        if tokens.take("name").lower() != "and":
            raise _unsupported("conditions can be joined only by 'and'")


class _Tokens:
    def __init__(self, text: str) -> None:
        self._rest = list(_split(text))

    def peek(self) -> tuple[str, str] | None:
        return self._rest[0] if self._rest else None

    def take(self, kind: str) -> str:
        if not self._rest or self._rest[0][0] != kind:
            raise _unsupported("it has a syntax error")
        return self._rest.pop(0)[1]


def _split(text: str) -> Iterator[tuple[str, str]]:
    position, text = 0, text.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            raise _unsupported("it has a syntax error")
        yield found.lastgroup, found[found.lastgroup]
        position = found.end()


def _parse_arguments(tokens: _Tokens) -> tuple[str, ...]:
    tokens.take("symbol")
    given: list[str] = []
    while tokens.peek() != ("symbol", ")"):
        if given and tokens.take("symbol") != ",":
            raise _unsupported("it has a syntax error")
        kind = (tokens.peek() or ("", ""))[0]
        word = tokens.take("text" if kind == "text" else "name")
        given.append(_unquote(word) if kind == "text" else word)
    tokens.take("symbol")
    return tuple(given)


def _unquote(quoted: str) -> str:
    return quoted[1:-1].replace("''", "'")


def _unsupported(why: str) -> ManagerError:
    return bad_request("InvalidFilterInQueryString", f"The $filter is not supported: {why}.")
