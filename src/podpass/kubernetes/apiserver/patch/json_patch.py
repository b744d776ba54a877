"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386); neither changes what it is given.

A patch that is not one is a 400; one that cannot be carried out on this object is a 422.
"""

import copy
import re
from collections.abc import Sequence
from typing import Any

import orjson

from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.patch.strategic_merge import merge
from podpass.kubernetes.apiserver.request import MAX_BODY_BYTES
from podpass.kubernetes.apiserver.status import (
    StatusError,
    bad_request,
    too_large,
    unprocessable,
)

MAX_OPERATIONS = 10_000
MAX_BYTES = MAX_BODY_BYTES
_INDEX = re.compile(r"0|[1-9]\d{0,8}")


def merge_patch(obj: Any, patch: Any) -> Any:
    """Apply an RFC 7386 patch: null deletes, objects merge, all else replaces."""
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
    """Apply a strategic merge patch, which knows by the kind how each list merges.

    Errors:  StatusError 400 for a patch that contradicts itself.
    """
    if not isinstance(patch, dict):
        raise bad_request("a strategic merge patch is a JSON object")
    return merge(kind.kind, obj, patch)


def json_patch(obj: Any, operations: Any) -> Any:
    """Carry out RFC 6902 operations in order, all or none.

    Errors:  StatusError 400 if it is no patch, 422 if an operation does not fit the object.
    """
    if not isinstance(operations, list) or not all(isinstance(each, dict) for each in operations):
        raise bad_request("a JSON patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise bad_request(f"a JSON patch of more than {MAX_OPERATIONS} operations")
    patched, copies = copy.deepcopy(obj), _Copies()
    for at, operation in enumerate(operations):
        patched = _operate(patched, operation, at, copies)
    return patched


def check_size(obj: Any) -> None:
    """Refuse an object that a patch has made larger or deeper than a body could be.

    Errors:  StatusError 413, 422.
    """
    if _size(obj) > MAX_BYTES:
        raise too_large(f"the patched object is larger than {MAX_BYTES} bytes")


def _size(obj: Any) -> int:
    try:
        return len(orjson.dumps(obj))
    except (TypeError, RecursionError) as exc:
        raise unprocessable("the patched object is nested too deeply") from exc


class _Copies:
    """Counts what one patch has copied: each copy may double the object, and thirty make gigabytes."""

    def __init__(self) -> None:
        self._bytes = 0

    def of(self, value: Any) -> Any:
        self._bytes += _size(value)
        if self._bytes > MAX_BYTES:
            raise too_large(f"the patch copies more than {MAX_BYTES} bytes")
        return copy.deepcopy(value)


def _operate(obj: Any, operation: dict[str, Any], at: int, copies: _Copies) -> Any:
    path = _pointer(operation.get("path"), at)
    match operation.get("op"):
        case "add":
            return _add(obj, path, copy.deepcopy(_value(operation, at)), at)
        case "remove":
            return _remove(obj, path, at)
        case "replace":
            # A member that is not there is made, as in the API server's library; the RFC has it fail.
            return _put(obj, path, copy.deepcopy(_value(operation, at)), at)
        case "move":
            return _move(obj, _pointer(operation.get("from"), at), path, at)
        case "copy":
            found = copies.of(_get(obj, _pointer(operation.get("from"), at), at))
            return _add(obj, path, found, at)
        case "test":
            return _test(obj, path, _value(operation, at), at)
        case other:
            raise bad_request(f"operation {at} of the patch: unknown op {other!r}")


def _value(operation: dict[str, Any], at: int) -> Any:
    if "value" not in operation:
        raise bad_request(f"operation {at} of the patch has no value")
    return operation["value"]


def _pointer(text: Any, at: int) -> list[str]:
    """Read an RFC 6901 pointer."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise bad_request(f"operation {at} of the patch: a path starts with /")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _misfit(path: Sequence[str], at: int, why: str) -> StatusError:
    return unprocessable(f"operation {at} of the patch: /{'/'.join(path)} {why}")


def _index(holder: list[Any], part: str, path: Sequence[str], at: int, *, end: bool = False) -> int:
    """Read a place in a list; with `end`, the place after its last one too."""
    if end and part == "-":
        return len(holder)
    # RFC 6901 4: no leading zeros, no sign.
    if not _INDEX.fullmatch(part) or int(part) >= len(holder) + end:
        raise _misfit(path, at, "is not a place in the list")
    return int(part)


def _get(obj: Any, path: Sequence[str], at: int) -> Any:
    for part in path:
        if isinstance(obj, dict) and part in obj:
            obj = obj[part]
        elif isinstance(obj, list):
            obj = obj[_index(obj, part, path, at)]
        else:
            raise _misfit(path, at, "does not exist")
    return obj


def _add(obj: Any, path: Sequence[str], value: Any, at: int) -> Any:
    if path and isinstance(holder := _get(obj, path[:-1], at), list):
        holder.insert(_index(holder, path[-1], path, at, end=True), value)
        return obj
    return _put(obj, path, value, at)


def _put(obj: Any, path: Sequence[str], value: Any, at: int) -> Any:
    """Set what stands at a path; the empty path is the whole object."""
    if not path:
        return value
    holder = _get(obj, path[:-1], at)
    if isinstance(holder, dict):
        holder[path[-1]] = value
    elif isinstance(holder, list):
        holder[_index(holder, path[-1], path, at)] = value
    else:
        raise _misfit(path, at, "does not exist")
    return obj


def _remove(obj: Any, path: Sequence[str], at: int) -> Any:
    _get(obj, path, at)
    if not path:
        return None
    holder = _get(obj, path[:-1], at)
    if isinstance(holder, dict):
        del holder[path[-1]]
    else:
        del holder[_index(holder, path[-1], path, at)]
    return obj


def _move(obj: Any, source: list[str], path: list[str], at: int) -> Any:
    # RFC 6902 4.4: "The from location MUST NOT be a proper prefix of the path location".
    if path[: len(source)] == source and path != source:
        raise _misfit(path, at, "lies inside what is moved")
    value = _get(obj, source, at)
    return _add(_remove(obj, source, at), path, value, at)


def _test(obj: Any, path: Sequence[str], value: Any, at: int) -> Any:
    # A missing member equals null, as in the API server's library.
    try:
        found = _get(obj, path, at)
    except StatusError:
        if value is None:
            return obj
        raise
    if not same(found, value):
        raise _misfit(path, at, "is not the tested value")
    return obj


def same(left: Any, right: Any) -> bool:
    """Compare as JSON: `true` is not 1, an object's order does not count, a list's does."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
