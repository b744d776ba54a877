"""The annotation by which kubectl's older, client-side apply remembers what it applied.

Whoever moves to server-side apply with kubectl brings objects that carry it: what it says of a field is no
conflict while the field still is so, and it is kept in step, for those who go back. Other managers see
an annotation like any other.
Source: k8s.io/apimachinery v0.34 pkg/util/managedfields/internal, lastappliedmanager and -updater.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from podpass.kubernetes.apiserver import schema
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.patch import managed_fields
from podpass.kubernetes.apiserver.patch.managed_fields import Paths

ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_MANAGER = "kubectl"

Object = dict[str, Any]


def taken_over(kind: Kind, live: Mapping[str, Any], manager: str) -> Paths:
    """Give the fields that are as they were last applied, and so are the manager's to take."""
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
        return frozenset()  # anybody may have written it
    last = schema.prune(kind, last)
    return managed_fields.fields_of(kind, last) - managed_fields.compare(kind, last, live).modified


def in_step(obj: Object, applied: Mapping[str, Any], manager: str) -> Object:
    """Write what was applied into an annotation that is there already."""
    if manager != _MANAGER or not _annotations(obj).get(ANNOTATION):
        return obj
    metadata = dict(applied.get("metadata") or {})
    annotations = {name: text for name, text in _annotations(applied).items() if name != ANNOTATION}
    metadata["annotations"] = annotations
    text = orjson.dumps({**applied, "metadata": metadata}).decode() + "\n"
    kept = obj["metadata"] | {"annotations": _annotations(obj) | {ANNOTATION: text}}
    return obj | {"metadata": kept}


def _annotations(obj: Mapping[str, Any]) -> dict[str, Any]:
    return (obj.get("metadata") or {}).get("annotations") or {}
