"""Tables of objects, as `kubectl get` shows them.

A kind without its own columns has its name and its creation time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.read import columns_custom
from podpass.kubernetes.apiserver.read.column import PLAIN, Column, Object, duration
from podpass.kubernetes.apiserver.read.columns_core import CORE
from podpass.kubernetes.apiserver.read.columns_workload import WORKLOADS

__all__ = ["duration", "make_table"]

_TABLES: Mapping[str, tuple[Column, ...]] = CORE | WORKLOADS


def make_table(
    kind: Kind, objects: Sequence[Object], now: float, include: str = "Metadata"
) -> dict[str, Any]:
    """Build a `Table` of objects; the caller sets its `metadata`.

    Shapes:  `include` is the part of each object in a row: None, Metadata or Object.
    """
    columns = columns_custom.columns(kind) or _TABLES.get(kind.type_name, PLAIN)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [column.definition() for column in columns],
        "rows": [_row(columns, obj, now, include) for obj in objects],
    }


def _row(columns: Sequence[Column], obj: Object, now: float, include: str) -> dict[str, Any]:
    row: dict[str, Any] = {"cells": [column.cell(obj, now) for column in columns]}
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
