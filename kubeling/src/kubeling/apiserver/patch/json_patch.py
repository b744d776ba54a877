"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386); the arguments are not changed.

A malformed patch is a 400; a patch that cannot be applied to the object is a 422.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any

import orjson

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.limits import WorkBudget, check_values
from kubeling.apiserver.patch.strategic_merge import merge
from kubeling.apiserver.request import MAX_BODY_BYTES
from kubeling.apiserver.status import StatusError, bad_request, too_large, unprocessable

MEDIA_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
MAX_OPERATIONS = 10_000
MAX_BYTES = MAX_BODY_BYTES
_MAX_MOVED_ITEMS = 50_000_000  # 8 bytes each
_INDEX = re.compile(r"0|[1-9]\d{0,8}")


def apply_patch(kind: Kind, media_type: str, obj: dict[str, Any], patch: Any) -> Any:
    """Apply a patch of one of the media types; the result has at most the size of a body.

    Raises StatusError 400, 413, 422.
    """
    match media_type:
        case "application/json-patch+json":
            patched = json_patch(obj, patch)
        case "application/merge-patch+json":
            patched = merge_patch(obj, patch)
        case _:
            patched = strategic_patch(kind, obj, patch)
    check_size(patched)
    return patched


def merge_patch(obj: Any, patch: Any) -> Any:
    """Apply an RFC 7386 patch: null deletes a member, objects merge, other values replace."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(obj) if isinstance(obj, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_patch(kind: Kind, obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Apply a strategic merge patch, in which the kind defines how each list merges.

    Raises StatusError 400 for a patch that contradicts itself.
    """
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch must be a JSON object")
    return merge(kind.schema_name, obj, patch)


def json_patch(obj: Any, operations: Any) -> Any:
    """Apply RFC 6902 operations in order; apply all of them or none.

    Raises StatusError 400 if the patch is malformed, 422 if an operation cannot be applied.
    """
    if not isinstance(operations, list) or not all(isinstance(each, dict) for each in operations):
        raise bad_request("a JSON patch must be a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise too_large(
            "Request entity too large: The allowed maximum operations in a JSON patch is"
            f" {MAX_OPERATIONS}, got {len(operations)}"
        )
    patched, budget = copy.deepcopy(obj), _PatchBudget()
    for at, operation in enumerate(operations):
        patched = _apply_operation(patched, operation, at, budget)
    return patched


def check_size(obj: Any) -> None:
    """Refuse a patched object that is larger or deeper, or has more values, than a body may have.

    Raises StatusError 413, 422.
    """
    if _size(obj) > MAX_BYTES:
        raise too_large(f"the patched object is larger than {MAX_BYTES} bytes")
    check_values(obj)


def _size(obj: Any) -> int:
    try:
        return len(orjson.dumps(obj))
    except (TypeError, RecursionError) as exc:
        raise unprocessable("the patched object is nested too deeply") from exc


class _PatchBudget(WorkBudget):
    """Limits the bytes that one patch copies, because each copy can double the size of the object.

    It also limits the items that move because an operation inserts or removes one before them.
    """

    def __init__(self) -> None:
        super().__init__(_MAX_MOVED_ITEMS)
        self._bytes = 0

    def copy(self, value: Any) -> Any:
        """Copy a value and count its bytes."""
        self._bytes += _size(value)
        if self._bytes > MAX_BYTES:
            raise too_large(f"the patch copies more than {MAX_BYTES} bytes")
        return copy.deepcopy(value)


def _apply_operation(obj: Any, operation: dict[str, Any], at: int, budget: _PatchBudget) -> Any:
    path = _parse_pointer(operation.get("path"), at)
    match operation.get("op"):
        case "add":
            return _add(obj, path, copy.deepcopy(_operation_value(operation, at)), at, budget)
        case "remove":
            return _remove(obj, path, at, budget)
        case "replace":
            # A missing member is created, as in the API server's library; by the RFC this is an error.
            return _put(obj, path, copy.deepcopy(_operation_value(operation, at)), at)
        case "move":
            source = _parse_pointer(operation.get("from"), at)
            # RFC 6902 4.4: "The from location MUST NOT be a proper prefix of the path location".
            if path[: len(source)] == source and path != source:
                raise _cannot_apply(path, at, "is inside the moved value")
            value = _get(obj, source, at)
            return _add(_remove(obj, source, at, budget), path, value, at, budget)
        case "copy":
            found = budget.copy(_get(obj, _parse_pointer(operation.get("from"), at), at))
            return _add(obj, path, found, at, budget)
        case "test":
            return _test(obj, path, _operation_value(operation, at), at)
        case other:
            raise bad_request(f"operation {at} of the patch: unknown op {other!r}")


def _operation_value(operation: dict[str, Any], at: int) -> Any:
    if "value" not in operation:
        raise bad_request(f"operation {at} of the patch has no value")
    return operation["value"]


def _parse_pointer(text: Any, at: int) -> list[str]:
    """Parse an RFC 6901 pointer."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise bad_request(f"operation {at} of the patch: a path must start with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _cannot_apply(path: Sequence[str], at: int, reason: str) -> StatusError:
    return unprocessable(f"operation {at} of the patch: /{'/'.join(path)} {reason}")


def _parse_index(
    container: list[Any], part: str, path: Sequence[str], at: int, *, end: bool = False
) -> int:
    """Parse a list index; with `end`, the index after the last item is valid too."""
    if end and part == "-":
        return len(container)
    # RFC 6901 4: no leading zeros, no sign.
    if not _INDEX.fullmatch(part) or int(part) >= len(container) + end:
        raise _cannot_apply(path, at, "is not an index of the list")
    return int(part)


def _get(obj: Any, path: Sequence[str], at: int) -> Any:
    for part in path:
        if isinstance(obj, dict) and part in obj:
            obj = obj[part]
        elif isinstance(obj, list):
            obj = obj[_parse_index(obj, part, path, at)]
        else:
            raise _cannot_apply(path, at, "does not exist")
    return obj


def _add(obj: Any, path: Sequence[str], value: Any, at: int, budget: _PatchBudget) -> Any:
    if path and isinstance(container := _get(obj, path[:-1], at), list):
        index = _parse_index(container, path[-1], path, at, end=True)
        budget.spend(len(container) - index)
        container.insert(index, value)
        return obj
    return _put(obj, path, value, at)


def _put(obj: Any, path: Sequence[str], value: Any, at: int) -> Any:
    """Set the value at a path; the empty path is the whole object."""
    if not path:
        return value
    container = _get(obj, path[:-1], at)
    if isinstance(container, dict):
        container[path[-1]] = value
    elif isinstance(container, list):
        container[_parse_index(container, path[-1], path, at)] = value
    else:
        raise _cannot_apply(path, at, "does not exist")
    return obj


def _remove(obj: Any, path: Sequence[str], at: int, budget: _PatchBudget) -> Any:
    _get(obj, path, at)
    if not path:
        return None
    container = _get(obj, path[:-1], at)
    if isinstance(container, dict):
        del container[path[-1]]
    else:
        index = _parse_index(container, path[-1], path, at)
        budget.spend(len(container) - index)
        del container[index]
    return obj


def _test(obj: Any, path: Sequence[str], value: Any, at: int) -> Any:
    # A missing member equals null, as in the API server's library.
    try:
        found = _get(obj, path, at)
    except StatusError:
        if value is None:
            return obj
        raise
    if not json_equal(found, value):
        raise _cannot_apply(path, at, "is not the tested value")
    return obj


def json_equal(left: Any, right: Any) -> bool:
    """Compare JSON values: `true` is not 1, and the order of an object's members does not matter."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            json_equal(left[key], right[key]) for key in left
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(json_equal, left, right))
    return bool(left == right)
