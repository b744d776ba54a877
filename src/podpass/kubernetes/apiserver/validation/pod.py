"""Rules for pods: what one may be, and the little of it that may change."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from podpass.kubernetes.apiserver.validation import container as containers
from podpass.kubernetes.apiserver.validation import rules
from podpass.kubernetes.apiserver.validation.rules import Causes
from podpass.kubernetes.apiserver.validation.volume import volumes

Object = Mapping[str, Any]

_RESTART = ("Always", "Never", "OnFailure")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
_PREEMPTION = ("Never", "PreemptLowerPriority")
_EFFECTS = ("", "NoExecute", "NoSchedule", "PreferNoSchedule")
_OPERATORS = ("", "Equal", "Exists")
_SORTS = ("containers", "initContainers", "ephemeralContainers")


def pod(obj: Object) -> Causes:
    """Check a pod."""
    yield from pod_spec(obj.get("spec") or {}, "spec")


def pod_creation(obj: Object) -> Causes:
    """Check what only a new pod must keep to."""
    given = (obj.get("spec") or {}).get("ephemeralContainers")
    yield from rules.forbidden(given, "spec.ephemeralContainers", "a new pod has none")


def pod_spec(spec: Object, here: str) -> Causes:
    """Check a pod's spec, in a pod or in a template."""
    yield from volumes(spec.get("volumes"), f"{here}.volumes")
    yield from _containers(spec, here)
    yield from rules.one_of(spec.get("restartPolicy"), _RESTART, f"{here}.restartPolicy")
    yield from rules.one_of(spec.get("dnsPolicy"), _DNS, f"{here}.dnsPolicy")
    if (preemption := spec.get("preemptionPolicy")) is not None:
        yield from rules.one_of(preemption, _PREEMPTION, f"{here}.preemptionPolicy")
    seconds, at = spec.get("activeDeadlineSeconds"), f"{here}.activeDeadlineSeconds"
    yield from rules.between(seconds, 1, 2**31 - 1, at)
    yield from _names(spec, here)
    yield from _tolerations(spec, here)


def _names(spec: Object, here: str) -> Causes:
    for part, fits in (
        ("serviceAccountName", rules.is_subdomain),
        ("nodeName", rules.is_subdomain),
        ("hostname", rules.is_label),
        ("subdomain", rules.is_label),
    ):
        if name := spec.get(part):
            yield from rules.invalid(not fits(name), f"{here}.{part}", f"{name!r} is not a name")
    yield from rules.labels(spec.get("nodeSelector") or {}, f"{here}.nodeSelector")
    for alias, at in rules.indexed(spec.get("hostAliases"), f"{here}.hostAliases"):
        yield from rules.ip(alias.get("ip", ""), f"{at}.ip")


def _tolerations(spec: Object, here: str) -> Causes:
    for each, at in rules.indexed(spec.get("tolerations"), f"{here}.tolerations"):
        key, value = each.get("key") or "", each.get("value") or ""
        operator = each.get("operator") or ""
        broken = key and not rules.is_qualified(key)
        yield from rules.invalid(broken, f"{at}.key", f"{key!r} is not a label's key")
        yield from rules.one_of(operator, _OPERATORS, f"{at}.operator")
        yield from rules.one_of(each.get("effect") or "", _EFFECTS, f"{at}.effect")
        why = "must be Exists where no key is given"
        yield from rules.invalid(not key and operator != "Exists", f"{at}.operator", why)
        extra = operator == "Exists" and value
        yield from rules.invalid(extra, f"{at}.operator", "Exists takes no value")


def _containers(spec: Object, here: str) -> Causes:
    yield from rules.required(spec.get("containers"), f"{here}.containers")
    known = {each.get("name", "") for each in spec.get("volumes") or () if each}
    special = {"initContainers": containers.init, "ephemeralContainers": containers.ephemeral}
    for sort in _SORTS:
        for each, at in rules.indexed(spec.get(sort), f"{here}.{sort}"):
            yield from containers.container(each, at, known)
            if check := special.get(sort):
                yield from check(each, at)
    yield from rules.unique(
        (each.get("name"), f"{at}.name")
        for sort in _SORTS
        for each, at in rules.indexed(spec.get(sort), f"{here}.{sort}")
    )


def pod_update(new: Object, old: Object) -> Causes:
    """Let a pod change its images, a shorter deadline and more tolerations, and nothing else."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for sort in ("containers", "initContainers"):
        if len(after.get(sort) or ()) != len(before.get(sort) or ()):
            yield from rules.forbidden(True, f"spec.{sort}", "no container comes or goes")
            return
    yield from _deadline(after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"))
    changed = _without_what_may_change(after, before) != before
    why = (
        "only images, activeDeadlineSeconds (to set or lower), tolerations (to add) and "
        "terminationGracePeriodSeconds (from below zero to 1) may change"
    )
    yield from rules.forbidden(changed, "spec", why)


def _without_what_may_change(after: Object, before: Object) -> Object:
    kept = copy.deepcopy(dict(after))
    for sort in ("containers", "initContainers"):
        for mine, theirs in zip(kept.get(sort) or (), before.get(sort) or (), strict=True):
            mine["image"] = theirs.get("image")
    _put_back(kept, before, "activeDeadlineSeconds")
    grace = before.get("terminationGracePeriodSeconds")
    if kept.get("terminationGracePeriodSeconds") == 1 and grace is not None and grace < 0:
        _put_back(kept, before, "terminationGracePeriodSeconds")
    tolerations = kept.get("tolerations") or []
    if all(each in tolerations for each in before.get("tolerations") or ()):
        _put_back(kept, before, "tolerations")
    return kept


def _put_back(kept: dict[str, Any], before: Object, part: str) -> None:
    kept.pop(part, None)
    if part in before:
        kept[part] = before[part]


def _deadline(new: int | None, old: int | None) -> Causes:
    here = "spec.activeDeadlineSeconds"
    if old is not None:
        yield from rules.invalid(new is None, here, "cannot be taken back")
        why = "cannot be raised"
        yield from rules.invalid(new is not None and new > old, here, why)


def ephemeral_update(new: Object, old: Object) -> Causes:
    """Let ephemeral containers come, and never change or go."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    here = "spec.ephemeralContainers"
    mine = {each.get("name"): each for each in after.get("ephemeralContainers") or ()}
    for theirs in before.get("ephemeralContainers") or ():
        same = mine.get(theirs.get("name")) == theirs
        why = f"{theirs.get('name')!r} cannot be changed or taken away"
        yield from rules.forbidden(not same, here, why)
    yield from _containers(after, "spec")


def warnings(obj: Object) -> Iterator[str]:
    """Say which variables of a container hide each other."""
    spec = obj.get("spec") or {}
    for sort in _SORTS:
        for container, here in rules.indexed(spec.get(sort), f"spec.{sort}"):
            seen = set()
            for variable, at in rules.indexed(container.get("env"), f"{here}.env"):
                name = variable.get("name")
                if name in seen:
                    yield f"{at}: hides an earlier {name!r}, which apply may drop"
                seen.add(name)
