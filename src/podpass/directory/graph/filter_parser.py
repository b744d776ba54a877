"""Parse the `$filter` of Graph into an expression. Pure; length, depth and number of terms are bounded.

Source: OData 4.01 URL conventions, 5.1.1: the subset that Graph supports for directory objects.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from podpass import guids
from podpass.directory.graph.errors import MalformedRequest, UnsupportedQuery

MAX_CHARS = 4096
MAX_TERMS = 15  # the limit of Graph
MAX_DEPTH = 8

Value = str | bool | int | float | None
Path = tuple[str, ...]
COMPARISONS = ("eq", "ne", "gt", "ge", "lt", "le")
STARTS_WITH = "startswith"
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
_FUNCTIONS = (STARTS_WITH, "endswith", "contains")

_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | (?P<time>\d{{4}}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d))
    | (?P<guid>{guids.PATTERN})
    | (?P<number>-?\d+(?:\.\d+)?)(?![\w-])
    | (?P<word>[A-Za-z_$@][\w.$]*)
    | (?P<symbol>[(),:/])
    )""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A property compared with a value; `op` is one of COMPARISONS or the name of a text function."""

    path: Path
    op: str
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """A property compared with a list of values."""

    path: Path
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches a collection with a matching element; without `inner`, every non-empty collection."""

    path: Path
    inner: "Expression | None"


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Expression"


Expression = Comparison | In | AnyOf | And | Or | Not


def parse(text: str) -> Expression:
    """Parse a filter.

    Raises MalformedRequest for invalid syntax; UnsupportedQuery if it has too many terms or is too deeply
    nested.
    """
    if len(text) > MAX_CHARS:
        raise UnsupportedQuery(f"The filter is longer than {MAX_CHARS} characters.")
    reader = _Reader(list(_tokenize(text)))
    found = reader.parse_or(0)
    reader.require_end()
    return found


def _tokenize(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise MalformedRequest(f"The $filter has a syntax error at position {at}.")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


class _Reader:
    """A recursive-descent parser; `_scope` is the variable of the enclosing lambda, if any."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0
        self._terms = 0
        self._scope: str | None = None

    def require_end(self) -> None:
        if self._at < len(self._tokens):
            raise self._syntax_error()

    def parse_or(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise UnsupportedQuery(f"The filter is nested deeper than {MAX_DEPTH}.")
        parts = [self._parse_and(depth)]
        while self._accept("word", "or"):
            parts.append(self._parse_and(depth))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _parse_and(self, depth: int) -> Expression:
        parts = [self._parse_term_or_group(depth)]
        while self._accept("word", "and"):
            parts.append(self._parse_term_or_group(depth))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _parse_term_or_group(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise UnsupportedQuery(f"The filter is nested deeper than {MAX_DEPTH}.")
        if self._accept("word", "not"):
            return Not(self._parse_term_or_group(depth + 1))
        if self._accept("symbol", "("):
            inner = self.parse_or(depth + 1)
            self._expect("symbol", ")")
            return inner
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise UnsupportedQuery(f"The $filter has more than {MAX_TERMS} comparisons.")
        word = self._take("word")
        if word in _FUNCTIONS and self._accept("symbol", "("):
            return self._parse_function(word)
        path = [word]
        while self._accept("symbol", "/"):
            step = self._take("word")
            if step in ("any", "all") and self._accept("symbol", "("):
                return self._parse_lambda(self._strip_lambda_variable(path), step, depth)
            path.append(step)
        return self._parse_comparison(self._strip_lambda_variable(path))

    def _parse_function(self, name: str) -> Expression:
        path = [self._take("word")]
        while self._accept("symbol", "/"):
            path.append(self._take("word"))
        self._expect("symbol", ",")
        value = self._parse_value()
        self._expect("symbol", ")")
        found = Comparison(self._strip_lambda_variable(path), name, value)
        if not isinstance(value, str):
            raise self._syntax_error()
        if self._accept("word", "eq"):  # older clients write `startswith(..) eq true`
            return found if self._parse_boolean() else Not(found)
        return found

    def _parse_boolean(self) -> bool:
        value = self._parse_value()
        if not isinstance(value, bool):
            raise self._syntax_error()
        return value

    def _parse_lambda(self, path: Path, kind: str, depth: int) -> Expression:
        if kind == "all" or self._scope is not None:
            raise UnsupportedQuery("Only 'any' is supported, not 'all', and it cannot be nested.")
        if self._accept("symbol", ")"):
            return AnyOf(path, None)
        self._scope = self._take("word")
        self._expect("symbol", ":")
        inner = self.parse_or(depth + 1)
        self._expect("symbol", ")")
        self._scope = None
        return AnyOf(path, inner)

    def _parse_comparison(self, path: Path) -> Expression:
        op = self._take("word")
        if op == "in":
            return In(path, self._parse_values())
        if op not in COMPARISONS:
            raise self._syntax_error()
        return Comparison(path, op, self._parse_value())

    def _parse_values(self) -> tuple[Value, ...]:
        self._expect("symbol", "(")
        values = [self._parse_value()]
        while self._accept("symbol", ","):
            values.append(self._parse_value())
        self._expect("symbol", ")")
        if len(values) > MAX_TERMS:
            raise UnsupportedQuery(f"The $filter lists more than {MAX_TERMS} values.")
        return tuple(values)

    def _parse_value(self) -> Value:
        kind, text = self._next()
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind in ("guid", "time"):
            return text
        if kind == "number":
            return float(text) if "." in text else int(text)
        if kind == "word" and text in _WORDS:
            return _WORDS[text]
        raise self._syntax_error()

    def _strip_lambda_variable(self, steps: list[str]) -> Path:
        """Remove the lambda's variable from a path inside the lambda."""
        if self._scope is None:
            return tuple(steps)
        if steps[0] != self._scope:
            raise UnsupportedQuery("Inside 'any' a comparison must use the variable of 'any'.")
        return tuple(steps[1:])

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise MalformedRequest("The $filter is incomplete.")
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, kind: str) -> str:
        found, text = self._next()
        if found != kind:
            raise self._syntax_error()
        return text

    def _expect(self, kind: str, text: str) -> None:
        if self._next() != (kind, text):
            raise self._syntax_error()

    def _accept(self, kind: str, text: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == (kind, text):
            self._at += 1
            return True
        return False

    def _syntax_error(self) -> MalformedRequest:
        return MalformedRequest("The $filter is not valid OData.")
