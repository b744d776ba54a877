"""Conversion between the versions of built-in kinds that are stored as one object.

`autoscaling/v1` and `v2` share their objects, and so do the events of the core group and of `events.k8s.io`.
Objects are stored in the newer autoscaling version, and as events of the core group.
Source: k8s.io/kubernetes v1.37 pkg/apis/{autoscaling,events}/v1/conversion.go.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

Object = dict[str, Any]

_ANNOTATION = "autoscaling.alpha.kubernetes.io/"
_CPU = "targetCPUUtilizationPercentage"
_DEFAULT_CPU = 80
_CURRENT_CPU = "currentCPUUtilizationPercentage"
# The parts of version 2 that version 1 has as annotations. A real API server writes metrics in another form.
_ANNOTATED = (
    ("spec", "metrics", "metrics", "[MetricSpec]"),
    ("spec", "behavior", "behavior", "HorizontalPodAutoscalerBehavior"),
    ("status", "currentMetrics", "current-metrics", "[MetricStatus]"),
    ("status", "conditions", "conditions", "[HorizontalPodAutoscalerCondition]"),
)
_EVENT_FIELDS = {
    "deprecatedCount": "count",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedSource": "source",
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
}


@dataclass(frozen=True, slots=True)
class VersionConversion:
    """Converts objects of one version to the stored version and back; the arguments are not changed."""

    to_storage: Callable[[Object], Object]
    from_storage: Callable[[Object], Object]

    def encode(self, raw: bytes) -> bytes:
        """Convert the JSON of a stored object to this version."""
        return orjson.dumps(self.from_storage(orjson.loads(raw)))


def stored_field(path: str) -> str:
    """Return the path of a field of an event of `events.k8s.io` in the stored object."""
    first, dot, rest = path.partition(".")
    return _EVENT_FIELDS.get(first, first) + dot + rest


def _renamed(names: Mapping[str, str]) -> Callable[[Object], Object]:
    return lambda obj: {names.get(name, name): value for name, value in obj.items()}


def _autoscaler_to_storage(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict((obj.get("metadata") or {}).get("annotations") or {})
    parts = {"spec": spec, "status": status}
    for part, field, name, of in _ANNOTATED:
        # A client can write anything into an annotation: only a well-formed value becomes a field.
        with contextlib.suppress(ValueError):
            value = orjson.loads(annotations.get(_ANNOTATION + name, ""))
            if value is not None and (known := _well_formed(of, value)) is not None:
                parts[part][field] = known
                del annotations[_ANNOTATION + name]
    status.pop(_CURRENT_CPU, None)
    status.setdefault("currentMetrics", None)
    percentage = spec.pop(_CPU, None)
    if percentage is None and not spec.get("metrics"):
        percentage = _DEFAULT_CPU
    if percentage is not None:
        target = {"type": "Utilization", "averageUtilization": percentage}
        metric = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
        spec["metrics"] = [metric, *(spec.get("metrics") or ())]
    return _with_annotations(obj | parts, annotations)


def _autoscaler_from_storage(obj: Object) -> Object:
    spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
    annotations = dict((obj.get("metadata") or {}).get("annotations") or {})
    # Earlier versions of this program stored what an annotation contained.
    metrics = _well_formed("[MetricSpec]", spec.get("metrics")) or []
    reported = _well_formed("[MetricStatus]", status.get("currentMetrics")) or []
    cpu = [each for each in metrics if _cpu(each, "target") is not None]
    current = [each for each in reported if _cpu(each, "current")]
    if cpu:
        spec["metrics"] = [each for each in metrics if _cpu(each, "target") is None]
    parts = {"spec": spec, "status": status}
    for part, field, name, _ in _ANNOTATED:
        if value := parts[part].pop(field, None):
            annotations[_ANNOTATION + name] = orjson.dumps(value).decode()
    if cpu:
        spec[_CPU] = _cpu(cpu[0], "target")
    if current:
        status[_CURRENT_CPU] = _cpu(current[0], "current")
    status.setdefault("currentReplicas", 0)
    return _with_annotations(obj | parts, annotations)


def _well_formed(of: str, value: Any) -> Any:
    """Return a value of a type without empty fields; None if it has another type."""
    from kubeling.apiserver import schema  # it imports the kinds, and they this module

    report = schema.check(of, value)
    return None if report.type_errors or report.unknown else schema.prune(of, value)


def _cpu(metric: Mapping[str, Any], part: str) -> int | None:
    """Return the utilization of a metric of the CPU; None for other metrics."""
    found = metric.get("resource") or {}
    utilization: int | None = (found.get(part) or {}).get("averageUtilization")
    return utilization if found.get("name") == "cpu" else None


def _with_annotations(obj: Object, annotations: Mapping[str, str]) -> Object:
    metadata = {name: each for name, each in obj["metadata"].items() if name != "annotations"}
    return obj | {"metadata": metadata | ({"annotations": annotations} if annotations else {})}


# The keys are `Kind.type_name`.
CONVERSIONS: Mapping[str, VersionConversion] = {
    "autoscaling.v1.HorizontalPodAutoscaler": VersionConversion(
        _autoscaler_to_storage, _autoscaler_from_storage
    ),
    "events.v1.Event": VersionConversion(
        _renamed(_EVENT_FIELDS), _renamed({old: new for new, old in _EVENT_FIELDS.items()})
    ),
}
# Resources whose objects are those of another resource.
STORED_AS: Mapping[str, str] = {"events.events.k8s.io": "events"}
