"""Limits of the work of one request, in addition to the bytes of its body.

Each step of a write takes time for each value of the object and each element of a path. These limits bound
the whole write; the objects of real charts and controllers are far below them.
"""

from typing import Any

from kubeling.apiserver.status import too_large

MAX_VALUES = 1 << 16
# A field that a client sets has about two values in the managedFields, which a client may send back.
MAX_MANAGED_VALUES = 3 * MAX_VALUES
# The length of all paths, from the whole object to each value.
MAX_PATH_ELEMENTS = 2_000_000
MAX_DEPTH = 250  # the JSON encoder stops at 254, and an object is inside a list or a review


def check_values(value: Any) -> None:
    """Refuse a body or an object with too many values, or with too many deeply nested values.

    Raises StatusError 413.
    """
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if isinstance(metadata, dict) and "managedFields" in metadata:
        _check_values(metadata["managedFields"], MAX_MANAGED_VALUES, "managedFields")
        metadata = {name: each for name, each in metadata.items() if name != "managedFields"}
        value = value | {"metadata": metadata}
    _check_values(value, MAX_VALUES, "the object")


def _check_values(value: Any, limit: int, what: str) -> None:
    level, depth, values, elements = [value], 0, 0, 0
    while level:
        values += len(level)
        elements += len(level) * depth
        if values > limit:
            raise too_large(f"{what} has more than {limit} values")
        if elements > MAX_PATH_ELEMENTS or depth > MAX_DEPTH:
            raise too_large(f"{what} has too many deeply nested values")
        level, depth = _children(level), depth + 1


def count_values(value: Any) -> int:
    """Count a value and all values in it."""
    level, values = [value], 0
    while level:
        values += len(level)
        level = _children(level)
    return values


def _children(level: list[Any]) -> list[Any]:
    found: list[Any] = []
    for each in level:
        if isinstance(each, dict):
            found.extend(each.values())
        elif isinstance(each, list):
            found.extend(each)
    return found


class WorkBudget:
    """Bounds the work of one patch whose steps can each touch a large part of the object."""

    def __init__(self, limit: int) -> None:
        self._left = limit

    def spend(self, items: int) -> None:
        """Count the items that a step reads or moves.

        Raises StatusError 413 as soon as the limit is exceeded.
        """
        self._left -= items
        if self._left < 0:
            raise too_large("the patch changes large lists too often; send a smaller patch")
