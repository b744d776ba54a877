"""Build all objects of the webhook, in the order in which they can be applied.

`{{KEY}}` in a text is the value of that key; a text that is nothing else becomes the value itself, and in a
list the items of a list. `{$unless: [KEY, OFF], then: A, else: B}` is B if the value of the key is OFF,
otherwise A; a branch that is missing removes the member or the item.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from podpass import __version__
from podpass.manifests.values import (
    CONFIG,
    LABELS,
    ImageMissing,
    ManifestValues,
    Object,
    read_rendered_chart,
)

_LEVELS = ("audit", "enforce", "warn")
# Namespaces of Kubernetes and the default namespace: podpass does not set their labels.
_SYSTEM_PREFIXES = ("default", "kube-")
_PLACEHOLDER = re.compile(r"\{\{([A-Za-z.]+)\}\}")
_MISSING = object()


def build_webhook_objects(values: ManifestValues) -> list[Object]:
    """Build the objects; the registration is last, so that the webhook exists before it is called.

    Raises ImageMissing.
    """
    if not values["image.repository"]:
        raise ImageMissing("image.repository is required, because there is no public image")
    namespace = values.namespace
    # The objects list the webhook's own namespace already: it must never block itself.
    exempt = [name for name in dict.fromkeys(values["exemptNamespaces"]) if name != namespace]
    given = {
        **values.by_key,
        "namespace": namespace,
        "exemptNamespaces": exempt,
        "version": __version__,
        "configHash": "",
    }
    objects = read_rendered_chart()["objects"]
    given["configHash"] = _hash_config(fill(objects, given))
    return [*_build_namespace(values), *fill(objects, given)]


def _hash_config(objects: list[Object]) -> str:
    """Return the hash of the settings as the chart computes it: a changed setting replaces the pods."""
    data = next(one["data"] for one in objects if one["metadata"]["name"] == CONFIG)
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":  # Helm escapes JSON for HTML
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def _build_namespace(values: ManifestValues) -> list[Object]:
    """Build the namespace with Pod Security labels: restricted, or privileged if hostNetwork requires it.

    The chart does not have it: Helm or the user creates the namespace of a release.
    """
    if values.namespace.startswith(_SYSTEM_PREFIXES):
        return []
    level = "privileged" if values["hostNetwork"] else "restricted"
    labels: dict[str, Any] = dict(LABELS)
    for mode in _LEVELS:
        labels[f"pod-security.kubernetes.io/{mode}"] = level
        labels[f"pod-security.kubernetes.io/{mode}-version"] = "latest"
    metadata = {"name": values.namespace, "labels": labels}
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}]


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
