"""The part of OData's `$filter` that clients of Resource Manager send: tests joined by `and`. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from podpass.directory.resource_manager.refusals import ManagerRefusal, bad

MAX_CHARS = 2048

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z][A-Za-z0-9_./]*)|(?P<sign>[(),]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What is asked of the entries of a list.

    Shapes:  `equal` by field in lower case, `calls` the functions by name in lower case with their texts.
    """

    equal: Mapping[str, str] = field(default_factory=dict)
    calls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def known(self, equal: frozenset[str], calls: frozenset[str] = frozenset()) -> "Filter":
        """Refuse what the list at hand does not know, since ignoring it would answer with too much.

        Errors:  ManagerRefusal.
        """
        strange = [*(self.equal.keys() - equal), *(self.calls.keys() - calls)]
        if strange:
            raise _wrong(f"'{strange[0]}' cannot be filtered by here")
        return self


def read(text: str) -> Filter:
    """Read a filter.

    Errors:  ManagerRefusal, InvalidFilterInQueryString.
    """
    if not text.strip():
        return Filter()
    if len(text) > MAX_CHARS:
        raise _wrong(f"it is longer than {MAX_CHARS} characters")
    tokens = _Tokens(text)
    equal: dict[str, str] = {}
    calls: dict[str, tuple[str, ...]] = {}
    while True:
        name = tokens.take("name").lower()
        if tokens.peek() == ("sign", "("):
            calls[name] = _arguments(tokens)
        else:
            if tokens.take("name").lower() != "eq":
                raise _wrong("only 'eq' and functions can be asked")
            if name in equal:
                raise _wrong(f"'{name}' stands twice")
            equal[name] = _text(tokens.take("text"))
        if tokens.peek() is None:
            return Filter(equal=equal, calls=calls)
        if tokens.take("name").lower() != "and":
            raise _wrong("tests can only be joined by 'and'")


class _Tokens:
    def __init__(self, text: str) -> None:
        self._rest = list(_split(text))

    def peek(self) -> tuple[str, str] | None:
        return self._rest[0] if self._rest else None

    def take(self, kind: str) -> str:
        if not self._rest or self._rest[0][0] != kind:
            raise _wrong("it cannot be read")
        return self._rest.pop(0)[1]


def _split(text: str) -> Iterator[tuple[str, str]]:
    place, text = 0, text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None or found.lastgroup is None:
            raise _wrong("it cannot be read")
        yield found.lastgroup, found[found.lastgroup]
        place = found.end()


def _arguments(tokens: _Tokens) -> tuple[str, ...]:
    tokens.take("sign")
    given: list[str] = []
    while tokens.peek() != ("sign", ")"):
        if given and tokens.take("sign") != ",":
            raise _wrong("it cannot be read")
        kind = (tokens.peek() or ("", ""))[0]
        word = tokens.take("text" if kind == "text" else "name")
        given.append(_text(word) if kind == "text" else word)
    tokens.take("sign")
    return tuple(given)


def _text(quoted: str) -> str:
    return quoted[1:-1].replace("''", "'")


def _wrong(why: str) -> ManagerRefusal:
    return bad("InvalidFilterInQueryString", f"The $filter is not served: {why}.")
