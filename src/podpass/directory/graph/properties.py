"""Parsers for the properties of Graph objects: a small schema that rejects unknown properties. Pure.

An error contains the name of the property, never its value.
"""

from collections.abc import Callable, Mapping
from typing import Any

from podpass.directory.graph.errors import InvalidRequest
from podpass.guids import is_guid

PropertyParser = Callable[[str, Any], Any]
"""A function of the path and the given value of a property; returns the value to store."""

MAX_ITEMS = 1200  # the limit of Graph for entries of an application manifest


def invalid_value(path: str, want: str) -> InvalidRequest:
    """Return the error for an invalid value of a property."""
    return InvalidRequest(
        f"The value of '{path}' is invalid: it must be {want}.",
        property=path,
    )


def unknown_property(path: str) -> InvalidRequest:
    """Return the error for a property that does not exist."""
    return InvalidRequest(f"The property '{path}' does not exist.", property=path)


def missing_property(path: str) -> InvalidRequest:
    """Return the error for a missing property."""
    return InvalidRequest(f"The property '{path}' is missing.", property=path)


def read_only_property(path: str) -> InvalidRequest:
    """Return the error for a property that only Graph writes."""
    return InvalidRequest(
        f"The property '{path}' is read-only: remove it from the request.", property=path
    )


def text(limit: int = 1024, *, least: int = 0) -> PropertyParser:
    """Return a parser of text with at most `limit` characters and no control characters."""

    def read(path: str, value: Any) -> Any:
        fits = isinstance(value, str) and least <= len(value) <= limit
        if not fits or any(ord(char) < 0x20 and char not in "\r\n\t" for char in value):
            raise invalid_value(path, f"text of {least} to {limit} characters")
        return value

    return read


def guid(path: str, value: Any) -> Any:
    """Parse a GUID and return it in lower case."""
    if not is_guid(value):
        raise invalid_value(path, "a GUID")
    return value.lower()


def boolean(path: str, value: Any) -> Any:
    """Parse a boolean; the documentation of `az` writes booleans in manifests as text."""
    if value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise invalid_value(path, "true or false")
    return value


def integer(path: str, value: Any) -> Any:
    """Parse a non-negative 32-bit integer."""
    if type(value) is not int or not 0 <= value < 2**31:
        raise invalid_value(path, "an integer")
    return value


def one_of(*values: object) -> PropertyParser:
    """Return a parser that accepts only the given values."""

    def read(path: str, value: Any) -> Any:
        if not any(value == each and type(value) is type(each) for each in values):
            raise invalid_value(path, "one of " + ", ".join(map(str, values)))
        return value

    return read


def nullable(inner: PropertyParser) -> PropertyParser:
    """Return a parser that accepts null in addition to `inner`."""
    return lambda path, value: None if value is None else inner(path, value)


def list_of(inner: PropertyParser, *, limit: int = MAX_ITEMS) -> PropertyParser:
    """Return a parser of a list."""

    def read(path: str, value: Any) -> Any:
        if not isinstance(value, list) or len(value) > limit:
            raise invalid_value(path, f"a list of at most {limit} entries")
        return [inner(f"{path}[{index}]", each) for index, each in enumerate(value)]

    return read


def object_of(known: Mapping[str, PropertyParser]) -> PropertyParser:
    """Return a parser of an object with known properties; it ignores annotations (`@odata...`)."""

    def read(path: str, value: Any) -> Any:
        if not isinstance(value, dict):
            raise invalid_value(path, "an object")
        found = {}
        for name, each in value.items():
            if "@" in name:
                continue
            if name not in known:
                raise unknown_property(f"{path}.{name}")
            found[name] = known[name](f"{path}.{name}", each)
        return found

    return read


def parse_properties(
    given: Mapping[str, Any],
    known: Mapping[str, PropertyParser],
    fixed: frozenset[str],
    current: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Parse the properties in a body.

    The properties in `fixed` are read-only; a body may contain them with the value in `current`. Raises
    InvalidRequest for a property that is unknown, read-only or invalid.
    """
    found = {}
    for name, value in given.items():
        if "@" in name:
            continue
        if name in fixed:
            if current is None or name not in current or current[name] != value:
                raise read_only_property(name)
            continue
        if name not in known:
            raise unknown_property(name)
        found[name] = known[name](name, value)
    return found


def merge(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `given` into `defaults`, recursively where both values are objects."""
    result = dict(defaults)
    for name, value in given.items():
        below = result.get(name)
        deep = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[name] = merge(below, value) if deep and below is not None else value
    return result
