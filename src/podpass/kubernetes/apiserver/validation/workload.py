"""Rules for what makes pods from a template: deployments, replica sets, daemon sets, stateful sets.

Source: k8s.io/kubernetes v1.34 pkg/apis/apps/validation.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from podpass.kubernetes.apiserver.selectors import matches
from podpass.kubernetes.apiserver.validation import rules
from podpass.kubernetes.apiserver.validation.pod import pod_spec
from podpass.kubernetes.apiserver.validation.pod import warnings as pod_warnings
from podpass.kubernetes.apiserver.validation.rules import Causes

Object = Mapping[str, Any]

_LARGEST = 2**31 - 1
_PERCENT = re.compile(r"[0-9]+%")
_MANAGEMENT = ("OrderedReady", "Parallel")
_STATEFUL = ("OnDelete", "RollingUpdate")
_RETENTION = ("Delete", "Retain")
# What of a stateful set may change; the rest decides what its pods and volumes are called.
_CHANGEABLE = frozenset(
    (
        *("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit"),
        *("persistentVolumeClaimRetentionPolicy", "minReadySeconds"),
    )
)


def deployment(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    yield from not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    yield from not_negative(spec, "progressDeadlineSeconds")
    yield from _selected(spec, "deployment")
    yield from _strategy(spec.get("strategy") or {})
    deadline, least = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    short = deadline is not None and deadline <= least
    why = "must be more than minReadySeconds"
    yield from rules.invalid(short, "spec.progressDeadlineSeconds", why)


def deployment_update(new: Object, old: Object) -> Causes:
    """Check the whole and that the selector stays; a real server tells both at once."""
    yield from deployment(new)
    yield from _same_selector(new, old)


def replica_set(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    yield from not_negative(spec, "replicas", "minReadySeconds")
    yield from _selected(spec, "replica set")


def replica_set_update(new: Object, old: Object) -> Causes:
    yield from replica_set(new)
    yield from _same_selector(new, old)


def daemon_set(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    yield from not_negative(spec, "minReadySeconds", "revisionHistoryLimit")
    yield from _selected(spec, "daemon set")
    strategy, here = spec.get("updateStrategy") or {}, "spec.updateStrategy"
    yield from rules.one_of(strategy.get("type"), _STATEFUL, f"{here}.type")
    if strategy.get("type") == "RollingUpdate":
        yield from _rolling(strategy.get("rollingUpdate") or {}, f"{here}.rollingUpdate")


def daemon_set_update(new: Object, old: Object) -> Causes:
    yield from daemon_set(new)
    yield from _same_selector(new, old)


def stateful_set(obj: Object) -> Causes:
    spec = obj.get("spec") or {}
    yield from not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    policy, here = spec.get("podManagementPolicy"), "spec.podManagementPolicy"
    why = f"must be one of {', '.join(_MANAGEMENT)}"
    yield from rules.invalid(policy not in _MANAGEMENT, here, why)
    kind, here = (spec.get("updateStrategy") or {}).get("type"), "spec.updateStrategy"
    why = f"must be one of {', '.join(_STATEFUL)}"
    yield from rules.invalid(kind not in _STATEFUL, here, why)
    kept = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for when in ("whenDeleted", "whenScaled"):
        here = f"spec.persistentVolumeClaimRetentionPolicy.{when}"
        yield from rules.one_of(kept.get(when), _RETENTION, here)
    if name := spec.get("serviceName"):
        why = f"{name!r} is not a service's name"
        yield from rules.invalid(not rules.is_label(name), "spec.serviceName", why)
    yield from _selected(spec, "stateful set", _claimed(spec))


def _claimed(spec: Object) -> list[dict[str, Any]]:
    """Give a volume for each claim a stateful set makes for its pods."""
    claims = spec.get("volumeClaimTemplates") or ()
    names = [(each.get("metadata") or {}).get("name") or "" for each in claims]
    return [{"name": name, "emptyDir": {}} for name in names]


def stateful_set_update(new: Object, old: Object) -> Causes:
    yield from stateful_set(new)
    after, before = new.get("spec") or {}, old.get("spec") or {}
    kept = [
        {name: value for name, value in spec.items() if name not in _CHANGEABLE}
        for spec in (after, before)
    ]
    why = f"only {', '.join(sorted(_CHANGEABLE))} may change"
    yield from rules.forbidden(kept[0] != kept[1], "spec", why)


def not_negative(spec: Object, *names: str, here: str = "spec") -> Causes:
    for name in names:
        yield from rules.between(spec.get(name), 0, _LARGEST, f"{here}.{name}")


def template(found: Object, here: str) -> Causes:
    """Check a pod template: its labels and the spec its pods will have."""
    metadata = found.get("metadata") or {}
    yield from rules.labels(metadata.get("labels") or {}, f"{here}.metadata.labels")
    for key in metadata.get("annotations") or {}:
        broken = not rules.is_qualified(key.lower())
        yield from rules.invalid(broken, f"{here}.metadata.annotations", f"{key!r} is not a key")
    yield from pod_spec(found.get("spec") or {}, f"{here}.spec")


def chooses(selector: Object | None, found: Object, here: str) -> Causes:
    """Check that a selector finds what is made from the template, or pods would be made for ever."""
    labels = (found.get("metadata") or {}).get("labels") or {}
    valid = selector is not None and not list(rules.selector(selector, ""))
    missed = valid and not matches(selector, labels)
    why = "the selector does not match the template's labels"
    yield from rules.invalid(missed, f"{here}.metadata.labels", why)


def _selected(spec: Object, kind: str, volumes: list[dict[str, Any]] | None = None) -> Causes:
    selector, found = spec.get("selector"), spec.get("template") or {}
    if selector is None:
        yield from rules.required(None, "spec.selector")
    else:
        yield from rules.selector(selector, "spec.selector")
        empty = not (selector.get("matchLabels") or selector.get("matchExpressions"))
        why = f"must not be empty: it would take every pod for the {kind}'s"
        yield from rules.invalid(empty, "spec.selector", why)
    yield from chooses(selector, found, "spec.template")
    pod: Object = found.get("spec") or {}
    if volumes:
        own = {each["name"] for each in volumes}
        others = [each for each in pod.get("volumes") or () if each.get("name") not in own]
        found = {**found, "spec": {**pod, "volumes": [*volumes, *others]}}
    yield from template(found, "spec.template")
    here = "spec.template.spec"
    yield from rules.one_of(pod.get("restartPolicy"), ("Always",), f"{here}.restartPolicy")
    limit, why = pod.get("activeDeadlineSeconds"), f"pods of a {kind} have no deadline"
    yield from rules.forbidden(limit is not None, f"{here}.activeDeadlineSeconds", why)


def _same_selector(new: Object, old: Object) -> Causes:
    after, before = ((each.get("spec") or {}).get("selector") for each in (new, old))
    yield from rules.immutable(after, before, "spec.selector")


def _strategy(strategy: Object) -> Causes:
    kind, rolling, here = strategy.get("type"), strategy.get("rollingUpdate"), "spec.strategy"
    if kind == "Recreate":
        why = "a deployment that recreates its pods does not roll"
        yield from rules.forbidden(rolling is not None, f"{here}.rollingUpdate", why)
    elif kind == "RollingUpdate":
        yield from _rolling(rolling or {}, f"{here}.rollingUpdate")
    else:
        yield from rules.one_of(kind, ("Recreate", "RollingUpdate"), here)


def _rolling(bounds: Object, here: str) -> Causes:
    unavailable, surge = bounds.get("maxUnavailable"), bounds.get("maxSurge")
    yield from count_or_percent(unavailable, f"{here}.maxUnavailable")
    yield from count_or_percent(surge, f"{here}.maxSurge", most=None)
    why = "must not be 0 while maxSurge is 0, or nothing could ever change"
    yield from rules.invalid(
        _is_none(unavailable) and _is_none(surge), f"{here}.maxUnavailable", why
    )


def _is_none(value: Any) -> bool:
    return value in (0, "0%")


def count_or_percent(value: Any, here: str, *, most: int | None = 100) -> Causes:
    """Check a number of pods, or a percentage of up to `most`."""
    if isinstance(value, str):
        fits = _PERCENT.fullmatch(value) is not None
        yield from rules.invalid(not fits, here, f"{value!r} is not a percentage")
        over = fits and most is not None and int(value[:-1]) > most
        yield from rules.invalid(over, here, f"must not be more than {most}%")
    else:
        yield from rules.between(value, 0, _LARGEST, here)


def warnings(obj: Object) -> Iterator[str]:
    """Say what is odd about the pods a template makes."""
    found = (obj.get("spec") or {}).get("template") or {}
    for warning in pod_warnings(found):
        yield f"spec.template.{warning}"
