"""Tables of objects, as `kubectl get` shows them.

A kind without its own columns has its name and its creation time.
"""

from collections.abc import Sequence
from typing import Any

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.read import columns_custom
from kubeling.apiserver.read.column import PLAIN, UNKNOWN, Column, Object, duration
from kubeling.apiserver.read.columns import COLUMNS
from kubeling.apiserver.release import is_older

__all__ = ["duration", "make_table"]

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
    columns = columns_custom.columns(kind) or _columns(kind)
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
