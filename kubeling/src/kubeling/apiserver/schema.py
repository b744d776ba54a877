"""The schema of the API's types: list the fields of a type, check the types of an object, prune an object.

The types are those of `release`: `[X]` is a list, `{X}` a map, `!` marks a required field. Unknown fields are
reported, and pruned as the real API prunes them. Only the types of values are checked here; `validate` checks
the values.
"""

import base64
import binascii
import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kubeling import quantity
from kubeling.apiserver import release
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.release import TypeNotes
from kubeling.apiserver.strict_decoding import MAX_PROBLEMS, Unknown

Types = Mapping[str, Mapping[str, str]]
FieldPath = tuple[Any, str] | None
"""The path of the parent and the last element; a path is formatted only for a report."""

# The names of the types of custom resources begin with this character.
CUSTOM = "~"

_MAX_PATH_CHARS = 1024

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_ZEROS = {"string": "", "bytes": "", "integer": 0, "int32": 0, "boolean": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaReport:
    """The fields of an object that do not match the schema.

    `type_errors` are messages that begin with the path; `unknown` has paths as in `spec.containers[0].nope`.
    Each list has at most 100 entries, as in the real API.
    """

    type_errors: list[str] = field(default_factory=list)
    unknown_fields: Unknown = field(default_factory=Unknown)

    @property
    def unknown(self) -> list[str]:
        return self.unknown_fields.paths


@functools.cache
def _types() -> dict[str, Mapping[str, str]]:
    """Load the types of the newest release at the first call."""
    return _fields(release.types())


def _fields(found: Mapping[str, TypeNotes]) -> dict[str, Mapping[str, str]]:
    return {
        name: {key: kind.rstrip("!") for key, kind in of["of"].items()}
        for name, of in found.items()
    }


def add_release(name: str) -> None:
    """Add the types of a release; a type of a release never changes."""
    _types().update(_fields(release.types(name)))


def types() -> Types:
    """Return the fields of every type, including registered types, without the `!` marks."""
    return _types()


def register(fields: Types) -> None:
    """Add the types of a custom resource; their names begin with `CUSTOM`."""
    _types().update(fields)


def unregister(names: Iterable[str]) -> None:
    """Remove registered types."""
    for name in names:
        _types().pop(name, None)


def notes(name: str) -> TypeNotes:
    """Return what `release` says about a built-in type; nothing for other types."""
    _, _, of = name.partition("@")
    return release.types(of or release.NEWEST).get(name, {})


@functools.cache
def required(name: str) -> frozenset[str]:
    """Return the required fields of a type."""
    return frozenset(key for key, kind in notes(name).get("of", {}).items() if kind.endswith("!"))


def element_type(kind: str) -> str | None:
    """Return the element type of a list `[X]` or a map `{X}`; None for other types."""
    return kind[1:-1] if kind[0] in "[{" else None


def type_name(kind: Kind | str) -> str:
    """Return the name of a kind's type."""
    return kind if isinstance(kind, str) else kind.schema_name


def check(kind: Kind | str, obj: Any) -> SchemaReport:
    """Check an object against its type; `kind` may be the name of a type (`Binding`, `DeleteOptions`)."""
    if isinstance(kind, Kind) and kind.custom is not None:
        return SchemaReport(
            type_errors=kind.custom.type_errors(obj),
            unknown_fields=Unknown(paths=kind.custom.unknown_fields(obj)),
        )
    report = SchemaReport()
    _check(type_name(kind), obj, None, report)
    return report


def _check(kind: str, value: Any, path: FieldPath, report: SchemaReport) -> None:
    if value is None or kind == "object":
        return
    if kind.startswith("["):
        _check_list(kind[1:-1], value, path, report)
    elif kind.startswith("{"):
        if _report_mismatch(isinstance(value, dict), "an object", value, path, report):
            for key, each in value.items():
                _check(kind[1:-1], each, (path, f"[{key}]"), report)
    elif found := _SCALARS.get(kind):
        description, fits = found
        _report_mismatch(fits(value), description, value, path, report)
    elif _report_mismatch(isinstance(value, dict), "an object", value, path, report):
        _check_object(kind, value, path, report)


def _check_list(kind: str, value: Any, path: FieldPath, report: SchemaReport) -> None:
    if _report_mismatch(isinstance(value, list), "a list", value, path, report):
        for at, each in enumerate(value):
            _check(kind, each, (path, f"[{at}]"), report)


def _check_object(kind: str, value: dict[str, Any], path: FieldPath, report: SchemaReport) -> None:
    fields = types()[kind]
    for key, each in value.items():
        child = (path, f".{key}" if path else key)
        if key in fields:
            _check(fields[key], each, child, report)
        else:
            is_listed = len(report.unknown) < MAX_PROBLEMS
            report.unknown_fields.add(value, key, _format_path(child) if is_listed else None)


def _format_path(path: FieldPath) -> str:
    """Format a path; one key can have a megabyte, and it is in the path of each of its children."""
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(part[:_MAX_PATH_CHARS])
    return "".join(reversed(parts))[:_MAX_PATH_CHARS]


def _report_mismatch(
    fits: bool, expected: str, value: Any, path: FieldPath, report: SchemaReport
) -> bool:
    if not fits and len(report.type_errors) < MAX_PROBLEMS:
        report.type_errors.append(
            f"{_format_path(path) or 'the body'}: want {expected}, found {_describe(value)}"
        )
    return fits


def _describe(value: Any) -> str:
    names = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        list: "a list",
    }
    return names.get(type(value), "an object")


def _is_int(value: Any) -> bool:
    """Return whether a value is a 64-bit integer; Python's `True` is an int, but a JSON boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_quantity(value: Any) -> bool:
    is_text = isinstance(value, str) and quantity.PATTERN.fullmatch(value) is not None
    return is_text or _is_number(value)


def _is_base64(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value[:19])
    except ValueError:
        return False
    return True


# The description of each scalar type, and its check.
_SCALARS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("a string", lambda value: isinstance(value, str)),
    "integer": ("an integer", _is_int),
    "int32": ("an integer", lambda value: _is_int(value) and -(2**31) <= value < 2**31),
    "number": ("a number", _is_number),
    "boolean": ("a boolean", lambda value: isinstance(value, bool)),
    "bytes": ("base64 text", _is_base64),
    "time": ("an RFC 3339 time", _is_time),
    "microTime": ("an RFC 3339 time", _is_time),
    "quantity": ("a quantity", _is_quantity),
    "intOrString": (
        "an integer or a string",
        lambda value: isinstance(value, str) or _is_int(value),
    ),
}


def prune(kind: Kind | str, obj: Mapping[str, Any]) -> dict[str, Any]:
    """Copy an object as the API serializes it: without unknown fields, nulls, empty lists and empty maps.

    Empty objects of a type stay (`emptyDir: {}`), and so do required lists.
    """
    if isinstance(kind, Kind) and kind.custom is not None:
        return kind.custom.prune(obj)
    pruned: dict[str, Any] = _prune(type_name(kind), obj)
    return pruned


def _prune(kind: str, value: Any) -> Any:
    inner = element_type(kind)
    if inner is not None and isinstance(value, list):
        return [_prune(inner, _item(inner, each)) for each in value]
    if inner is not None and isinstance(value, dict):
        return {key: _prune(inner, _item(inner, each)) for key, each in value.items()}
    fields = types().get(kind)
    if fields is None or not isinstance(value, dict):
        return value
    return {
        key: _prune(fields[key], each)
        for key, each in value.items()
        if key in fields and each is not None and not _is_omitted(kind, key, fields[key], each)
    }


def _item(kind: str, value: Any) -> Any:
    """Return an item of a list or map; a null is the zero value of its type, as in the real API."""
    if value is not None:
        return value
    return {} if kind in types() else _ZEROS.get(kind)


def _is_omitted(kind: str, key: str, field_kind: str, value: Any) -> bool:
    return value in ([], {}) and element_type(field_kind) is not None and key not in required(kind)


def children(kind: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each direct child of a value, with its type."""
    inner = element_type(kind)
    if inner is not None:
        child = value.values() if isinstance(value, dict) else value
        yield from ((inner, each) for each in child if each is not None)
    elif kind in types() and isinstance(value, dict):
        fields = types()[kind]
        yield from (
            (fields[key], each) for key, each in value.items() if key in fields and each is not None
        )
