"""Tables of objects, as `kubectl get` shows them.

A kind without its own columns has its name and its creation time.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import orjson

from kubeling.apiserver.customresources import json_path
from kubeling.apiserver.customresources.json_path import Step
from kubeling.apiserver.customresources.resource import VersionedResource
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.read.columns import (
    AGE,
    COLUMNS,
    NAME,
    PLAIN,
    UNKNOWN,
    Cell,
    Column,
    Object,
    duration,
    elapsed,
)
from kubeling.apiserver.release import is_older

__all__ = ["duration", "make_table"]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
}


_AGE = dataclasses.replace(AGE, type="date")
# The paths are parsed once for each definition.
_parsed: WeakKeyDictionary[VersionedResource, tuple[Column, ...]] = WeakKeyDictionary()


def _custom_columns(kind: Kind) -> tuple[Column, ...]:
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
        _custom_cell(path, given["type"]),
        given.get("description") or meaning,
        given.get("priority") or 0,
        given["type"],
        given.get("format") or "",
    )


def _custom_cell(path: str, kind: str) -> Cell:
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
        try:
            return elapsed(found, now) if isinstance(found, str) else "<invalid>"
        except ValueError:
            return "<invalid>"
    if isinstance(found, bool) and kind != "boolean":
        return None
    return found if isinstance(found, _TYPES[kind]) else None


# Kinds without columns in earlier releases, and the first release that has columns.
_SINCE = {"CustomResourceDefinition": "1.37"}


def make_table(
    kind: Kind, objects: Sequence[Object], now: float, include: str = "Metadata"
) -> dict[str, Any]:
    """Build a `Table` of objects; the caller sets its `metadata`.

    Args:
        include: the part of each object in a row: None, Metadata or Object.
    """
    # The columns are those of the stored version.
    convert = kind.conversion.to_storage if kind.conversion and kind.custom is None else dict
    columns = _custom_columns(kind) or _columns(kind)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [column.definition() for column in columns],
        "rows": [_row(columns, obj, convert(dict(obj)), now, include) for obj in objects],
    }


def _columns(kind: Kind) -> tuple[Column, ...]:
    if is_older(kind.release, _SINCE.get(kind.type_name, kind.release)):
        return PLAIN
    return COLUMNS.get(kind.type_name, PLAIN)


def _cell(column: Column, stored: Object, now: float) -> Any:
    try:
        return column.cell(stored, now)
    except Exception:  # noqa: BLE001 an invalid object, such as an old one, must not break the list
        return UNKNOWN


def _row(
    columns: Sequence[Column], obj: Object, stored: Object, now: float, include: str
) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": [_cell(column, stored, now) for column in columns]}
    phase = (obj.get("status") or {}).get("phase") if obj.get("kind") == "Pod" else None
    if phase in ("Failed", "Succeeded"):
        row["conditions"] = [{"type": "Completed", "status": "True", "reason": phase}]
    if include == "Metadata":
        row["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj.get("metadata", {}),
        }
    elif include == "Object":
        row["object"] = obj
    return row
