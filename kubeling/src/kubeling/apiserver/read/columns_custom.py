"""Columns of custom resources: the additionalPrinterColumns of their definition, or name and age."""

import dataclasses
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from kubeling.apiserver.custom_resource import CustomResource
from kubeling.apiserver.customresources import json_path
from kubeling.apiserver.customresources.json_path import Step
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.read.column import AGE, NAME, Cell, Column, Object, elapsed

_TYPES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


_AGE = dataclasses.replace(AGE, type="date")
# The paths are parsed once for each definition.
_parsed: WeakKeyDictionary[CustomResource, tuple[Column, ...]] = WeakKeyDictionary()


def columns(kind: Kind) -> tuple[Column, ...]:
    """Return the columns of a custom kind; nothing for a built-in kind."""
    if kind.custom is None:
        return ()
    if (found := _parsed.get(kind.custom)) is None:
        given = kind.custom.printer_columns
        found = (NAME, *(_column(each) for each in given)) if given else (NAME, _AGE)
        _parsed[kind.custom] = found
    return found


def _column(given: Any) -> Column:
    path = given["jsonPath"]
    meaning = f"Custom resource definition column (in JSONPath format): {path}"
    return Column(
        given["name"],
        _cell(path, given["type"]),
        given.get("description") or meaning,
        given.get("priority") or 0,
        given["type"],
        given.get("format") or "",
    )


def _cell(path: str, kind: str) -> Cell:
    try:
        steps = json_path.parse(path)
    except ValueError:  # a path that only the real API server can read
        return lambda _obj, _now: None
    return lambda obj, now: _value(steps, kind, obj, now)


def _value(steps: tuple[Step, ...], kind: str, obj: Object, now: float) -> Any:
    found = json_path.find(steps, obj)
    if found is None:
        return None
    if kind == "string":
        return found if isinstance(found, str) else orjson.dumps(found).decode()
    if kind == "date":
        return _date(found, now)
    if isinstance(found, bool) and kind != "boolean":
        return None
    return found if isinstance(found, _TYPES[kind]) else None


def _date(found: Any, now: float) -> str:
    try:
        return elapsed(found, now) if isinstance(found, str) else "<invalid>"
    except ValueError:
        return "<invalid>"
