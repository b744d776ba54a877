"""The last-applied-configuration annotation of kubectl's client-side apply.

Objects from client-side apply have this annotation. When kubectl changes to server-side apply, a field that
still has the value in the annotation is not a conflict. The annotation is updated too, so that a user can
return to client-side apply. For other field managers it is an annotation like any other.
Source: k8s.io/apimachinery v0.34 pkg/util/managedfields/internal, lastappliedmanager and -updater.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from kubeling.apiserver import schema
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.patch import managed_fields
from kubeling.apiserver.patch.managed_fields import Paths

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_MANAGER = "kubectl"

Object = dict[str, Any]


def adoptable_fields(kind: Kind, live: Mapping[str, Any], manager: str) -> Paths:
    """Return the fields that still have their last applied value; the manager may take them over."""
    text = _annotations(live).get(ANNOTATION)
    if manager != _MANAGER or not text:
        return frozenset()
    try:
        last = orjson.loads(text)
    except ValueError:
        return frozenset()
    if not isinstance(last, dict) or last.get("apiVersion") != kind.api_version:
        return frozenset()
    if schema.check(kind, last).type_errors:
        return frozenset()  # the annotation can contain anything
    last = schema.prune(kind, last)
    return (
        managed_fields.field_paths(kind, last) - managed_fields.compare(kind, last, live).modified
    )


def update_annotation(obj: Object, applied: Mapping[str, Any], manager: str) -> Object:
    """Update an existing annotation with the applied object."""
    if manager != _MANAGER or not _annotations(obj).get(ANNOTATION):
        return obj
    metadata = dict(applied.get("metadata") or {})
    annotations = {name: text for name, text in _annotations(applied).items() if name != ANNOTATION}
    metadata["annotations"] = annotations
    text = orjson.dumps({**applied, "metadata": metadata}).decode() + "\n"
    updated = obj["metadata"] | {"annotations": _annotations(obj) | {ANNOTATION: text}}
    return obj | {"metadata": updated}


def _annotations(obj: Mapping[str, Any]) -> dict[str, Any]:
    return (obj.get("metadata") or {}).get("annotations") or {}
