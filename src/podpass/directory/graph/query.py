"""Graph's `$filter`, read into an expression. Pure, and bounded whatever comes in.

Source: OData 4.01 URL conventions, 5.1.1; the part of them that Graph serves for directory objects.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from podpass import guids
from podpass.directory.graph.refusals import Malformed, Unsupported

MAX_CHARS = 4096
MAX_TERMS = 15  # as many as Graph joins
MAX_DEPTH = 8

Value = str | bool | int | float | None
Path = tuple[str, ...]
COMPARISONS = ("eq", "ne", "gt", "ge", "lt", "le")
PREFIX = "startswith"
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
_FUNCTIONS = (PREFIX, "endswith", "contains")

_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | (?P<time>\d{{4}}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d))
    | (?P<guid>{guids.PATTERN})
    | (?P<number>-?\d+(?:\.\d+)?)(?![\w-])
    | (?P<word>[A-Za-z_$@][\w.$]*)
    | (?P<sign>[(),:/])
    )""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Compare:
    """A property against a value; `op` is one of COMPARISONS or a text function's name."""

    path: Path
    op: str
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """A property against a list of values."""

    path: Path
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A collection of which some element fits; inside, () is the element itself. None: it is not empty."""

    path: Path
    inner: "Expr | None"


@dataclass(frozen=True, slots=True)
class Both:
    parts: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Either:
    parts: tuple["Expr", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Expr"


Expr = Compare | In | AnyOf | Both | Either | Not


def parse(text: str) -> Expr:
    """Read a filter.

    Errors:  Malformed for what is no filter; Unsupported for one of too many parts, or too deep.
    """
    if len(text) > MAX_CHARS:
        raise Unsupported(f"The filter is longer than {MAX_CHARS} characters.")
    reader = _Reader(list(_tokens(text)))
    found = reader.either(0)
    reader.end()
    return found


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise Malformed(f"The $filter cannot be read at position {at}.")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


class _Reader:
    """Reads tokens by recursive descent; `scope` is the variable of the lambda around, if any."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._terms = 0
        self._scope: str | None = None

    def end(self) -> None:
        if self._at < len(self._tokens):
            raise self._bad()

    def either(self, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            raise Unsupported(f"The filter is nested deeper than {MAX_DEPTH}.")
        parts = [self._both(depth)]
        while self._skip("word", "or"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Either(tuple(parts))

    def _both(self, depth: int) -> Expr:
        parts = [self._one(depth)]
        while self._skip("word", "and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else Both(tuple(parts))

    def _one(self, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            raise Unsupported(f"The filter is nested deeper than {MAX_DEPTH}.")
        if self._skip("word", "not"):
            return Not(self._one(depth + 1))
        if self._skip("sign", "("):
            inner = self.either(depth + 1)
            self._want("sign", ")")
            return inner
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise Unsupported(f"The $filter has over {MAX_TERMS} comparisons.")
        return self._term(depth)

    def _term(self, depth: int) -> Expr:
        word = self._take("word")
        if word in _FUNCTIONS and self._skip("sign", "("):
            return self._function(word)
        path = [word]
        while self._skip("sign", "/"):
            step = self._take("word")
            if step in ("any", "all") and self._skip("sign", "("):
                return self._lambda(self._path(path), step, depth)
            path.append(step)
        return self._comparison(self._path(path))

    def _function(self, name: str) -> Expr:
        path = [self._take("word")]
        while self._skip("sign", "/"):
            path.append(self._take("word"))
        self._want("sign", ",")
        value = self._value()
        self._want("sign", ")")
        found = Compare(self._path(path), name, value)
        if not isinstance(value, str):
            raise self._bad()
        if self._skip("word", "eq"):  # startswith(..) eq true, as older clients write it
            return found if self._truth() else Not(found)
        return found

    def _truth(self) -> bool:
        value = self._value()
        if not isinstance(value, bool):
            raise self._bad()
        return value

    def _lambda(self, path: Path, kind: str, depth: int) -> Expr:
        if kind == "all" or self._scope is not None:
            raise Unsupported("Of 'any' and 'all' only 'any' is served, and not inside another.")
        if self._skip("sign", ")"):
            return AnyOf(path, None)
        self._scope = self._take("word")
        self._want("sign", ":")
        inner = self.either(depth + 1)
        self._want("sign", ")")
        self._scope = None
        return AnyOf(path, inner)

    def _comparison(self, path: Path) -> Expr:
        op = self._take("word")
        if op == "in":
            return In(path, self._values())
        if op not in COMPARISONS:
            raise self._bad()
        return Compare(path, op, self._value())

    def _values(self) -> tuple[Value, ...]:
        self._want("sign", "(")
        values = [self._value()]
        while self._skip("sign", ","):
            values.append(self._value())
        self._want("sign", ")")
        if len(values) > MAX_TERMS:
            raise Unsupported(f"The $filter lists over {MAX_TERMS} values.")
        return tuple(values)

    def _value(self) -> Value:
        kind, text = self._next()
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind in ("guid", "time"):
            return text
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind == "word" and text in _WORDS:
            return _WORDS[text]
        raise self._bad()

    def _path(self, steps: list[str]) -> Path:
        """Inside a lambda paths begin with its variable, and mean its element."""
        if self._scope is None:
            return tuple(steps)
        if steps[0] != self._scope:
            raise Unsupported("Inside 'any' only the element itself can be compared.")
        return tuple(steps[1:])

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise Malformed("The $filter ends too early.")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, kind: str) -> str:
        found, text = self._next()
        if found != kind:
            raise self._bad()
        return text

    def _want(self, kind: str, text: str) -> None:
        if self._next() != (kind, text):
            raise self._bad()

    def _skip(self, kind: str, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == (kind, text):
            self._at += 1
            return True
        return False

    def _bad(self) -> Malformed:
        return Malformed("The $filter is not written as OData has it.")
