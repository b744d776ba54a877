"""How the members of Graph's objects are read: a small schema that refuses what it does not know. Pure.

What Graph says of a wrong member is its code and the member's name; a value is never echoed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from podpass.directory.graph.refusals import BadRequest
from podpass.guids import is_guid

Read = Callable[[str, Any], Any]
"""A member's path and what was given for it in; the value as it is kept out, or BadRequest."""

MAX_ITEMS = 1200  # Graph bounds an application's manifest at 1200 entries


def wrong(path: str, want: str) -> BadRequest:
    """Say that a member's value is not what the property takes."""
    return BadRequest(
        f"The value of '{path}' does not fit: want {want}.",
        property=path,
    )


def unknown(path: str) -> BadRequest:
    """Say that a property does not exist."""
    return BadRequest(f"There is no property '{path}' here.", property=path)


def required(path: str) -> BadRequest:
    """Say that a property is missing."""
    return BadRequest(f"The property '{path}' is missing.", property=path)


def read_only(path: str) -> BadRequest:
    """Say that a property is Graph's to write."""
    return BadRequest(
        f"The property '{path}' is written by the service only: leave it out.", property=path
    )


def text(limit: int = 1024, *, least: int = 0) -> Read:
    """Read text of at most `limit` characters, none of them a control character."""

    def read(path: str, value: Any) -> Any:
        fits = isinstance(value, str) and least <= len(value) <= limit
        if not fits or any(ord(sign) < 0x20 and sign not in "\r\n\t" for sign in value):
            raise wrong(path, f"text of {least} to {limit} characters")
        return value

    return read


def guid(path: str, value: Any) -> Any:
    """Read a GUID, kept in lower case."""
    if not is_guid(value):
        raise wrong(path, "a GUID")
    return value.lower()


def boolean(path: str, value: Any) -> Any:
    """Read true or false, which manifests in the documentation of `az` write as text."""
    if value in ("true", "false"):
        return value == "true"
    if not isinstance(value, bool):
        raise wrong(path, "true or false")
    return value


def integer(path: str, value: Any) -> Any:
    """Read an integer of 32 bits, not negative."""
    if type(value) is not int or not 0 <= value < 2**31:
        raise wrong(path, "an integer")
    return value


def one_of(*values: object) -> Read:
    """Read one of a few values."""

    def read(path: str, value: Any) -> Any:
        if not any(value == each and type(value) is type(each) for each in values):
            raise wrong(path, "one of " + ", ".join(map(str, values)))
        return value

    return read


def or_null(inner: Read) -> Read:
    """Read null, or what another reads."""
    return lambda path, value: None if value is None else inner(path, value)


def items(inner: Read, *, limit: int = MAX_ITEMS) -> Read:
    """Read a list."""

    def read(path: str, value: Any) -> Any:
        if not isinstance(value, list) or len(value) > limit:
            raise wrong(path, f"a list of at most {limit}")
        return [inner(f"{path}[{place}]", each) for place, each in enumerate(value)]

    return read


def members(known: Mapping[str, Read]) -> Read:
    """Read an object of known members; annotations (`@odata...`) are passed over."""

    def read(path: str, value: Any) -> Any:
        if not isinstance(value, dict):
            raise wrong(path, "an object")
        found = {}
        for name, each in value.items():
            if "@" in name:
                continue
            if name not in known:
                raise unknown(f"{path}.{name}")
            found[name] = known[name](f"{path}.{name}", each)
        return found

    return read


def read_members(
    given: Mapping[str, Any],
    known: Mapping[str, Read],
    fixed: frozenset[str],
    current: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Read the members of a body.

    Shapes:  `fixed` are read-only, and may be repeated as they stand in `current`.
    Errors:  BadRequest for one that is unknown, read-only, or of the wrong shape.
    """
    found = {}
    for name, value in given.items():
        if "@" in name:
            continue
        if name in fixed:
            if current is None or name not in current or current[name] != value:
                raise read_only(name)
            continue
        if name not in known:
            raise unknown(name)
        found[name] = known[name](name, value)
    return found


def merged(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Put what is given over the defaults, member by member, as deep as both are objects."""
    result = dict(defaults)
    for name, value in given.items():
        below = result.get(name)
        deep = isinstance(below, Mapping) and isinstance(value, Mapping)
        result[name] = merged(below, value) if deep and below is not None else value
    return result
