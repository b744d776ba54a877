"""Rules for kinds with a pod template: deployments, replica sets and controllers, daemon sets, stateful sets.

Source: k8s.io/kubernetes v1.34 pkg/apis/apps/validation.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubeling.apiserver.selectors import matches
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.pod import validate_pod_spec
from kubeling.apiserver.validation.pod import warnings as pod_warnings
from kubeling.apiserver.validation.rules import Causes, Check, every, fields, number

Object = Mapping[str, Any]

_PERCENT = re.compile(r"[0-9]+%")
_MANAGEMENT = ("OrderedReady", "Parallel")
_STATEFUL = ("OnDelete", "RollingUpdate")
_RETENTION = ("Delete", "Retain")
_COUNT = number(0)


def _selected(kind: str) -> Check:
    """Return a check of the selector and the template of a spec."""
    return lambda spec, _: _validate_selected(spec or {}, kind)


def _validate_deadline(spec: Object | None, here: str) -> Causes:
    deadline = (spec or {}).get("progressDeadlineSeconds")
    short = deadline is not None and deadline <= ((spec or {}).get("minReadySeconds") or 0)
    reason = "must be more than minReadySeconds"
    yield from rules.invalid(short, f"{here}.progressDeadlineSeconds", reason)


def validate_replication_controller(obj: Object) -> Causes:
    """Check a ReplicationController, whose selector is a map of labels that may change."""
    spec = obj.get("spec") or {}
    yield from fields(replicas=_COUNT, minReadySeconds=_COUNT)(spec, "spec")
    labels, found = spec.get("selector") or {}, spec.get("template")
    yield from rules.required(labels, "spec.selector")
    yield from rules.labels(labels, "spec.selector")
    yield from rules.required(found, "spec.template")
    if found is not None:
        selector = {"matchLabels": labels}
        yield from _validate_pods(selector, found, "replication controller")


def validate_stateful_set(obj: Object) -> Causes:
    """Check a StatefulSet."""
    spec = obj.get("spec") or {}
    yield from fields(replicas=_COUNT, minReadySeconds=_COUNT, revisionHistoryLimit=_COUNT)(
        spec, "spec"
    )
    policy, here = spec.get("podManagementPolicy"), "spec.podManagementPolicy"
    reason = f"must be one of {', '.join(_MANAGEMENT)}"
    yield from rules.invalid(policy not in _MANAGEMENT, here, reason)
    kind, here = (spec.get("updateStrategy") or {}).get("type"), "spec.updateStrategy"
    reason = f"must be one of {', '.join(_STATEFUL)}"
    yield from rules.invalid(kind not in _STATEFUL, here, reason)
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for when in ("whenDeleted", "whenScaled"):
        here = f"spec.persistentVolumeClaimRetentionPolicy.{when}"
        yield from rules.one_of(retention.get(when), _RETENTION, here)
    name_check = rules.optional(rules.text(rules.is_label, "service name"))
    yield from name_check(spec.get("serviceName"), "spec.serviceName")
    # There is a volume for each volume claim template.
    claims = spec.get("volumeClaimTemplates") or ()
    names = [(each.get("metadata") or {}).get("name") or "" for each in claims]
    volumes: list[dict[str, Any]] = [{"name": name, "emptyDir": {}} for name in names]
    yield from _validate_selected(spec, "stateful set", volumes)


def validate_template(found: Object | None, here: str) -> Causes:
    """Check the labels, annotations and spec of a pod template."""
    metadata = fields(labels=rules.labels, annotations=rules.annotation_keys)
    yield from fields(metadata=metadata, spec=validate_pod_spec)(found, here)


def validate_selects_template(selector: Object | None, found: Object, here: str) -> Causes:
    """Check that a selector matches the template; otherwise the controller would create pods endlessly."""
    labels = (found.get("metadata") or {}).get("labels") or {}
    valid = selector is not None and not list(rules.selector(selector, ""))
    missed = valid and not matches(selector, labels)
    reason = "the selector does not match the template's labels"
    yield from rules.invalid(missed, f"{here}.metadata.labels", reason)


def _validate_selected(
    spec: Object, kind: str, volumes: list[dict[str, Any]] | None = None
) -> Causes:
    selector, found = spec.get("selector"), spec.get("template") or {}
    if selector is None:
        yield from rules.required(None, "spec.selector")
    else:
        yield from rules.selector(selector, "spec.selector")
        empty = not (selector.get("matchLabels") or selector.get("matchExpressions"))
        reason = f"must not be empty: it would select every pod for the {kind}"
        yield from rules.invalid(empty, "spec.selector", reason)
    yield from _validate_pods(selector, found, kind, volumes)


def _validate_pods(
    selector: Object | None,
    found: Object,
    kind: str,
    volumes: list[dict[str, Any]] | None = None,
) -> Causes:
    """Check a template, and that its pods match the selector and run until they are deleted."""
    yield from validate_selects_template(selector, found, "spec.template")
    pod: Object = found.get("spec") or {}
    if volumes:
        own = {each["name"] for each in volumes}
        others = [each for each in pod.get("volumes") or () if each.get("name") not in own]
        found = {**found, "spec": {**pod, "volumes": [*volumes, *others]}}
    yield from validate_template(found, "spec.template")
    here = "spec.template.spec"
    yield from rules.one_of(pod.get("restartPolicy"), ("Always",), f"{here}.restartPolicy")
    limit, reason = pod.get("activeDeadlineSeconds"), f"pods of a {kind} must not have a deadline"
    yield from rules.forbidden(limit is not None, f"{here}.activeDeadlineSeconds", reason)


def _validate_strategy(found: Object | None, here: str) -> Causes:
    strategy = found or {}
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        reason = "must not be given with the type Recreate"
        yield from rules.forbidden(rolling is not None, f"{here}.rollingUpdate", reason)
    elif kind == "RollingUpdate":
        yield from _validate_rolling(rolling or {}, f"{here}.rollingUpdate")
    else:
        yield from rules.one_of(kind, ("Recreate", "RollingUpdate"), here)


def _validate_daemon_strategy(found: Object | None, here: str) -> Causes:
    if found and found.get("type") == "RollingUpdate":
        yield from _validate_rolling(found.get("rollingUpdate") or {}, f"{here}.rollingUpdate")


def _validate_rolling(bounds: Object, here: str) -> Causes:
    unavailable, surge = bounds.get("maxUnavailable"), bounds.get("maxSurge")
    yield from validate_count_or_percent(unavailable, f"{here}.maxUnavailable")
    yield from validate_count_or_percent(surge, f"{here}.maxSurge", max_percent=None)
    reason = "must not be 0 if maxSurge is 0: the deployment could not replace a pod"
    zero = (0, "0%")
    none = unavailable in zero and surge in zero
    yield from rules.invalid(none, f"{here}.maxUnavailable", reason)


def validate_count_or_percent(value: Any, here: str, *, max_percent: int | None = 100) -> Causes:
    """Check a number of pods, or a percentage of up to `max_percent`."""
    if isinstance(value, str):
        fits = _PERCENT.fullmatch(value) is not None
        yield from rules.invalid(not fits, here, f"{value!r} is not a percentage")
        over = fits and max_percent is not None and int(value[:-1]) > max_percent
        yield from rules.invalid(over, here, f"must not be more than {max_percent}%")
    else:
        yield from _COUNT(value, here)


def warnings(obj: Object) -> Iterator[str]:
    """Return warnings about the pods of a template."""
    found = (obj.get("spec") or {}).get("template") or {}
    for warning in pod_warnings(found):
        yield f"spec.template.{warning}"


validate_replica_set = fields(
    spec=every(fields(replicas=_COUNT, minReadySeconds=_COUNT), _selected("replica set"))
)
validate_daemon_set = fields(
    spec=every(
        fields(minReadySeconds=_COUNT, revisionHistoryLimit=_COUNT),
        _selected("daemon set"),
        fields(updateStrategy=_validate_daemon_strategy),
    )
)
validate_deployment = fields(
    spec=every(
        fields(
            replicas=_COUNT,
            minReadySeconds=_COUNT,
            revisionHistoryLimit=_COUNT,
            progressDeadlineSeconds=_COUNT,
        ),
        _selected("deployment"),
        fields(strategy=_validate_strategy),
        _validate_deadline,
    )
)
