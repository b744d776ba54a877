"""Make request templates for the fuzz target `growth` from bytes: each byte is one choice.

The objects have the types of the schema, so that most of them pass every check. Lists and maps
repeat.
"""

from collections.abc import Sequence
from typing import Any

from kubeling.apiserver import schema
from kubeling.apiserver.kinds import KINDS
from kubeling.apiserver.patch import list_merge

_STORED = tuple(kind.type_name for kind in KINDS if kind.stored)
# Kinds with lists that merge and with lists of lists are chosen more often than the others.
_FREQUENT = ("Pod", "Deployment", "Service", "ConfigMap", "ServiceAccount", "Role", "NetworkPolicy")
STEPS = ("apply", "strategic", "track", "write", "update", "merge", "table")
_TEXTS = ("v#", "v@", "v", "#", "a/b#", "1")
_MAX_DEPTH = 6
_MAX_FIELDS = 3


class Choices:
    """Takes one choice from each byte; the first option after the last byte."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def one_of(self, options: Sequence[Any]) -> Any:
        """Return one of the options."""
        byte = self._data[self._at] if self._at < len(self._data) else 0
        self._at += 1
        return options[byte % len(options)]

    @property
    def is_done(self) -> bool:
        """Return whether every byte was used."""
        return self._at >= len(self._data)


def build_template(data: bytes) -> dict[str, Any]:
    """Return the template that the bytes choose."""
    choices = Choices(data)
    step, kind = choices.one_of(STEPS), choices.one_of(_FREQUENT * 4 + _STORED)
    live = _object(choices, kind, 0)
    live.setdefault("metadata", {})["name"] = "n"
    patch = _object(choices, kind, 0)
    if step == "strategic":
        _add_directive(choices, kind, patch)
    return {"step": step, "kind": kind, "live": live, "patch": patch}


def _object(choices: Choices, kind: str, depth: int) -> dict[str, Any]:
    fields = schema.types()[kind]
    names = sorted(schema.required(kind))
    for _ in range(_MAX_FIELDS):
        if fields and not choices.is_done:
            names.append(choices.one_of(sorted(fields)))
    return {
        name: _value(choices, fields[name], depth + 1)
        for name in dict.fromkeys(names)
        if name not in ("kind", "apiVersion", "managedFields")
    }


def _value(choices: Choices, kind: str, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return None
    if kind.startswith("["):
        items = [_value(choices, kind[1:-1], depth + 1) for _ in range(choices.one_of((1, 1, 2)))]
        return ["*", *items] if choices.one_of((True, True, True, False)) else items
    if kind.startswith("{"):
        name = choices.one_of(("*k#", "*k@", "*a/b#", "k"))
        return {name: _value(choices, kind[1:-1], depth + 1)}
    if kind in schema.types():
        return _object(choices, kind, depth)
    match kind:
        case "integer" | "int32":
            return choices.one_of((1, 80, 0))
        case "boolean":
            return choices.one_of((True, False))
        case "time" | "microTime":
            return "2020-01-01T00:00:00Z"
        case "bytes":
            return "YQ=="
        case "object":
            return {"*k#": choices.one_of(_TEXTS)}
        case _:
            return choices.one_of(_TEXTS)


def _add_directive(choices: Choices, kind: str, patch: dict[str, Any]) -> None:
    """Add a directive of a strategic merge patch to the object of a list that merges, if there is one."""
    fields = schema.types()[kind]
    for name, value in list(patch.items()):
        rule = list_merge.rule(kind, name)
        if isinstance(value, dict) and fields.get(name) in schema.types():
            _add_directive(choices, fields[name], value)
        elif isinstance(value, list) and rule.patch_key is not None:
            key = rule.patch_key
            items = ["*", *({key: text} if key else text for text in _TEXTS[:2])]
            match choices.one_of(("none", "order", "delete", "delete items", "retain")):
                case "order":
                    patch[f"$setElementOrder/{name}"] = items
                case "delete":
                    patch[f"$deleteFromPrimitiveList/{name}"] = items
                case "delete items" if key:
                    patch[name] = [
                        *value,
                        *({"$patch": "delete", key: text} for text in _TEXTS[:2]),
                    ]
                case "retain":
                    patch["$retainKeys"] = ["*", name, "x#"]
