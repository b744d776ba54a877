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
from kubeling.apiserver.validation.rules import Causes

Object = Mapping[str, Any]

_MAX_INT32 = 2**31 - 1
_PERCENT = re.compile(r"[0-9]+%")
_MANAGEMENT = ("OrderedReady", "Parallel")
_STATEFUL = ("OnDelete", "RollingUpdate")
_RETENTION = ("Delete", "Retain")
# The fields of a StatefulSet that may change; the others determine the names of its pods and volumes.
_CHANGEABLE = frozenset(
    (
        *("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit"),
        *("persistentVolumeClaimRetentionPolicy", "minReadySeconds"),
    )
)


def validate_deployment(obj: Object) -> Causes:
    """Check a Deployment."""
    spec = obj.get("spec") or {}
    yield from validate_not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    yield from validate_not_negative(spec, "progressDeadlineSeconds")
    yield from _validate_selected(spec, "deployment")
    yield from _validate_strategy(spec.get("strategy") or {})
    deadline, min_ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    short = deadline is not None and deadline <= min_ready
    reason = "must be more than minReadySeconds"
    yield from rules.invalid(short, "spec.progressDeadlineSeconds", reason)


def validate_deployment_update(new: Object, old: Object) -> Causes:
    """Check a changed Deployment; report invalid fields and a changed selector together."""
    yield from validate_deployment(new)
    yield from _validate_same_selector(new, old)


def validate_replica_set(obj: Object) -> Causes:
    """Check a ReplicaSet."""
    spec = obj.get("spec") or {}
    yield from validate_not_negative(spec, "replicas", "minReadySeconds")
    yield from _validate_selected(spec, "replica set")


def validate_replica_set_update(new: Object, old: Object) -> Causes:
    """Check a changed ReplicaSet."""
    yield from validate_replica_set(new)
    yield from _validate_same_selector(new, old)


def validate_replication_controller(obj: Object) -> Causes:
    """Check a ReplicationController, whose selector is a map of labels that may change."""
    spec = obj.get("spec") or {}
    yield from validate_not_negative(spec, "replicas", "minReadySeconds")
    labels, found = spec.get("selector") or {}, spec.get("template")
    yield from rules.required(labels or None, "spec.selector")
    yield from rules.labels(labels, "spec.selector")
    yield from rules.required(found, "spec.template")
    if found is not None:
        selector = {"matchLabels": labels}
        yield from _validate_pods(selector, found, "replication controller")


def validate_daemon_set(obj: Object) -> Causes:
    """Check a DaemonSet."""
    spec = obj.get("spec") or {}
    yield from validate_not_negative(spec, "minReadySeconds", "revisionHistoryLimit")
    yield from _validate_selected(spec, "daemon set")
    strategy, here = spec.get("updateStrategy") or {}, "spec.updateStrategy"
    if strategy.get("type") == "RollingUpdate":
        yield from _validate_rolling(strategy.get("rollingUpdate") or {}, f"{here}.rollingUpdate")


def validate_daemon_set_update(new: Object, old: Object) -> Causes:
    """Check a changed DaemonSet."""
    yield from validate_daemon_set(new)
    yield from _validate_same_selector(new, old)


def validate_stateful_set(obj: Object) -> Causes:
    """Check a StatefulSet."""
    spec = obj.get("spec") or {}
    yield from validate_not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    policy, here = spec.get("podManagementPolicy"), "spec.podManagementPolicy"
    reason = f"must be one of {', '.join(_MANAGEMENT)}"
    yield from rules.invalid(policy not in _MANAGEMENT, here, reason)
    kind, here = (spec.get("updateStrategy") or {}).get("type"), "spec.updateStrategy"
    reason = f"must be one of {', '.join(_STATEFUL)}"
    yield from rules.invalid(kind not in _STATEFUL, here, reason)
    fixed_fields = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for when in ("whenDeleted", "whenScaled"):
        here = f"spec.persistentVolumeClaimRetentionPolicy.{when}"
        yield from rules.one_of(fixed_fields.get(when), _RETENTION, here)
    if name := spec.get("serviceName"):
        reason = f"{name!r} is not a valid service name"
        yield from rules.invalid(not rules.is_label(name), "spec.serviceName", reason)
    yield from _validate_selected(spec, "stateful set", _claim_volumes(spec))


def _claim_volumes(spec: Object) -> list[dict[str, Any]]:
    """Return a volume for each volume claim template of a StatefulSet."""
    claims = spec.get("volumeClaimTemplates") or ()
    names = [(each.get("metadata") or {}).get("name") or "" for each in claims]
    return [{"name": name, "emptyDir": {}} for name in names]


def validate_stateful_set_update(new: Object, old: Object) -> Causes:
    """Check a changed StatefulSet."""
    yield from validate_stateful_set(new)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    fixed_fields = [
        {name: value for name, value in spec.items() if name not in _CHANGEABLE}
        for spec in (after, before)
    ]
    reason = f"only {', '.join(sorted(_CHANGEABLE))} may change"
    yield from rules.forbidden(fixed_fields[0] != fixed_fields[1], "spec", reason)


def validate_not_negative(spec: Object, *names: str, here: str = "spec") -> Causes:
    """Check that numbers are not negative."""
    for name in names:
        yield from rules.between(spec.get(name), 0, _MAX_INT32, f"{here}.{name}")


def validate_template(found: Object, here: str) -> Causes:
    """Check the labels, annotations and spec of a pod template."""
    metadata = found.get("metadata") or {}
    yield from rules.labels(metadata.get("labels") or {}, f"{here}.metadata.labels")
    for key in metadata.get("annotations") or {}:
        broken = not rules.is_qualified(key.lower())
        yield from rules.invalid(
            broken, f"{here}.metadata.annotations", f"{key!r} is not a valid annotation key"
        )
    yield from validate_pod_spec(found.get("spec") or {}, f"{here}.spec")


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


def _validate_same_selector(new: Object, old: Object) -> Causes:
    after, before = ((each.get("spec") or {}).get("selector") for each in (new, old))
    yield from rules.immutable(after, before, "spec.selector")


def _validate_strategy(strategy: Object) -> Causes:
    kind, rolling, here = strategy.get("type"), strategy.get("rollingUpdate"), "spec.strategy"
    if kind == "Recreate":
        reason = "must not be given with the type Recreate"
        yield from rules.forbidden(rolling is not None, f"{here}.rollingUpdate", reason)
    elif kind == "RollingUpdate":
        yield from _validate_rolling(rolling or {}, f"{here}.rollingUpdate")
    else:
        yield from rules.one_of(kind, ("Recreate", "RollingUpdate"), here)


def _validate_rolling(bounds: Object, here: str) -> Causes:
    unavailable, surge = bounds.get("maxUnavailable"), bounds.get("maxSurge")
    yield from validate_count_or_percent(unavailable, f"{here}.maxUnavailable")
    yield from validate_count_or_percent(surge, f"{here}.maxSurge", max_percent=None)
    reason = "must not be 0 if maxSurge is 0: the deployment could not replace a pod"
    yield from rules.invalid(
        _is_zero(unavailable) and _is_zero(surge), f"{here}.maxUnavailable", reason
    )


def _is_zero(value: Any) -> bool:
    return value in (0, "0%")


def validate_count_or_percent(value: Any, here: str, *, max_percent: int | None = 100) -> Causes:
    """Check a number of pods, or a percentage of up to `max_percent`."""
    if isinstance(value, str):
        fits = _PERCENT.fullmatch(value) is not None
        yield from rules.invalid(not fits, here, f"{value!r} is not a percentage")
        over = fits and max_percent is not None and int(value[:-1]) > max_percent
        yield from rules.invalid(over, here, f"must not be more than {max_percent}%")
    else:
        yield from rules.between(value, 0, _MAX_INT32, here)


def warnings(obj: Object) -> Iterator[str]:
    """Return warnings about the pods of a template."""
    found = (obj.get("spec") or {}).get("template") or {}
    for warning in pod_warnings(found):
        yield f"spec.template.{warning}"
