"""Fill the objects that were rendered from the chart with values.

`{{KEY}}` in a text is the value of that key; a text that is nothing else becomes the value itself, and in a
list the items of a list. `{$unless: [KEY, OFF], then: A, else: B}` is B if the value of the key is OFF,
otherwise A; a branch that is missing removes the member or the item.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_PLACEHOLDER = re.compile(r"\{\{([A-Za-z.]+)\}\}")
_MISSING = object()


def fill(node: Any, values: Mapping[str, Any]) -> Any:
    """Return a node with its values. Every key of the node is in `values`."""
    if isinstance(node, list):
        return list(_fill_items(node, values))
    if not isinstance(node, dict):
        return _fill_text(node, values) if isinstance(node, str) else node
    filled = {key: _choose(value, values) for key, value in node.items()}
    return {key: fill(value, values) for key, value in filled.items() if value is not _MISSING}


def _choose(node: Any, values: Mapping[str, Any]) -> Any:
    """Return the branch of a node that applies."""
    while isinstance(node, dict) and "$unless" in node:
        key, off = node["$unless"]
        node = node.get("else" if values[key] == off else "then", _MISSING)
    return node


def _fill_items(items: list[Any], values: Mapping[str, Any]) -> Iterator[Any]:
    for item in items:
        if (chosen := _choose(item, values)) is _MISSING:
            continue
        filled = fill(chosen, values)
        if isinstance(chosen, str) and isinstance(filled, list):
            yield from filled
        else:
            yield filled


def _fill_text(text: str, values: Mapping[str, Any]) -> Any:
    if whole := _PLACEHOLDER.fullmatch(text):
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), text)
