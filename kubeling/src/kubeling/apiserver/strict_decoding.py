"""Find the fields of a body that the API server does not decode: unknown ones, and repeated ones.

The order and the paths are those of the real API server: JSON in the order of the document, YAML by line.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

# The real API server stops at this number.
MAX_PROBLEMS = 100
_MAX_PATH = 1000
_SECOND = 2
_OPERATION_FIELDS = ("op", "path", "from", "value")


@dataclass(slots=True)
class Unknown:
    """The unknown fields of a body: as paths, and as pairs of an object id and a key."""

    paths: list[str] = field(default_factory=list)
    keys: set[tuple[int, str]] = field(default_factory=set)

    def add(self, obj: dict[str, Any], key: str, path: str | None) -> None:
        """Add a field; a field without a path is recognized but not listed."""
        if path is not None:
            self.paths.append(path)
        self.keys.add((id(obj), key))


@dataclass(slots=True)
class DuplicateKeys:
    """The objects of a body with a repeated key, found while the body is decoded.

    `by_object` holds, by identity of the decoded object, the object itself (which keeps its identity unique)
    and its keys in the order of the document; `in_yaml` are messages.
    """

    by_object: dict[int, tuple[dict[str, Any], list[str]]] = field(default_factory=dict)
    in_yaml: list[str] = field(default_factory=list)

    def collect(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Build an object for the JSON decoder, and remember the keys of an object that repeats one."""
        found = dict(pairs)
        if len(found) != len(pairs):
            self.by_object[id(found)] = (found, [name for name, _ in pairs])
        return found

    def keys(self, obj: dict[str, Any]) -> Sequence[str]:
        """Return the keys of an object in the order of the document, repeated ones included."""
        _, names = self.by_object.get(id(obj), (obj, None))
        return list(obj) if names is None else names


def problems(value: Any, duplicates: DuplicateKeys, unknown: Unknown | None = None) -> list[str]:
    """List repeated and unknown fields of a body, each once, at most as many as the real API server."""
    unknown = unknown or Unknown()
    if not duplicates.by_object:
        found = [*duplicates.in_yaml, *(f'unknown field "{path}"' for path in unknown.paths)]
        return found[:MAX_PROBLEMS]
    found = _walk(value, duplicates, unknown.keys)
    if not unknown.keys:  # the fields of a custom resource are known by their paths only
        found += [f'unknown field "{path}"' for path in unknown.paths]
    return found[:MAX_PROBLEMS]


def json_patch_problems(operations: Any, duplicates: DuplicateKeys) -> list[str]:
    """List repeated and unknown fields of a JSON patch."""
    unknown = Unknown()
    for at, operation in enumerate(operations if isinstance(operations, list) else ()):
        for name in operation if isinstance(operation, dict) else ():
            if name not in _OPERATION_FIELDS:
                unknown.add(operation, name, f"[{at}].{name}")
    return [f"json patch {each}" for each in problems(operations, duplicates, unknown)]


def error_text(found: Sequence[str], duplicates: DuplicateKeys) -> str:
    """Return the message that refuses a body with such fields; the lines of YAML are one error."""
    if not duplicates.in_yaml:
        return "strict decoding error: " + ", ".join(found)
    lines = "".join(f"\n  {each}" for each in duplicates.in_yaml)
    others = found[len(duplicates.in_yaml) :]
    return "strict decoding error: " + ", ".join([f"yaml: unmarshal errors:{lines}", *others])


def _walk(value: Any, duplicates: DuplicateKeys, unknown: Collection[tuple[int, str]]) -> list[str]:
    """List the problems in the order of the document.

    A path is built only for a problem, and without recursion: a body may be deep, with long keys.
    """
    found: list[str] = []
    parts: list[str] = []
    stack = [_children(value, duplicates, unknown)]
    while stack and len(found) < MAX_PROBLEMS:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            del parts[-1:]
            continue
        problem, part, child = step
        if problem:
            found.append(f'{problem} field "{_path([*parts, part])}"')
        elif isinstance(child, dict | list):
            parts.append(part)
            stack.append(_children(child, duplicates, unknown))
    return found


def _children(
    value: Any, duplicates: DuplicateKeys, unknown: Collection[tuple[int, str]]
) -> Iterator[tuple[str, str, Any]]:
    """Yield the problem of each child, or none, the child's part of the path, and the child."""
    if not isinstance(value, dict):
        yield from (("", f"[{at}]", each) for at, each in enumerate(value))
        return
    seen: dict[str, int] = {}
    for key in duplicates.keys(value):
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 1:
            is_unknown = (id(value), key) in unknown
            yield ("unknown" if is_unknown else ""), f".{key}", value[key]
        elif seen[key] == _SECOND and (id(value), key) not in unknown:
            yield "duplicate", f".{key}", None


def _path(parts: Sequence[str]) -> str:
    path = "".join(parts).removeprefix(".")
    return path if len(path) <= _MAX_PATH else path[:_MAX_PATH] + "..."
