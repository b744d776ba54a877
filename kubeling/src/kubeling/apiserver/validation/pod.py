"""Rules for pods: new pods, and the few fields of a pod that may change."""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubeling.apiserver.json_value import identity
from kubeling.apiserver.validation import container as containers
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes
from kubeling.apiserver.validation.volume import validate_volumes

Object = Mapping[str, Any]

_OPERATORS = ("", "Equal", "Exists")
_SYSCTL = re.compile(r"(?:[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?")
_MAX_SYSCTL = 253
_CONTAINER_FIELDS = ("containers", "initContainers", "ephemeralContainers")


def validate_pod(obj: Object) -> Causes:
    """Check a pod."""
    yield from validate_pod_spec(obj.get("spec") or {}, "spec")


def validate_pod_creation(obj: Object) -> Causes:
    """Check the rules that apply only to new pods."""
    given = (obj.get("spec") or {}).get("ephemeralContainers")
    yield from rules.forbidden(given, "spec.ephemeralContainers", "must not be given for a new pod")


def validate_pod_spec(spec: Object, here: str) -> Causes:
    """Check a pod's spec, in a pod or in a template."""
    yield from validate_volumes(spec.get("volumes"), f"{here}.volumes")
    yield from _validate_containers(spec, here)
    seconds, at = spec.get("activeDeadlineSeconds"), f"{here}.activeDeadlineSeconds"
    yield from rules.between(seconds, 1, 2**31 - 1, at)
    yield from _validate_names(spec, here)
    yield from _validate_sysctls(spec.get("securityContext") or {}, f"{here}.securityContext")
    yield from _validate_tolerations(spec, here)


def _validate_names(spec: Object, here: str) -> Causes:
    for part, fits in (
        ("serviceAccountName", rules.is_subdomain),
        ("nodeName", rules.is_subdomain),
        ("hostname", rules.is_label),
        ("subdomain", rules.is_label),
    ):
        if name := spec.get(part):
            yield from rules.invalid(
                not fits(name), f"{here}.{part}", f"{name!r} is not a valid name"
            )
    yield from rules.labels(spec.get("nodeSelector") or {}, f"{here}.nodeSelector")
    for alias, at in rules.indexed(spec.get("hostAliases"), f"{here}.hostAliases"):
        yield from rules.ip(alias.get("ip", ""), f"{at}.ip")


def _validate_sysctls(context: Object, here: str) -> Causes:
    given = list(rules.indexed(context.get("sysctls"), f"{here}.sysctls"))
    for each, at in given:
        name = each.get("name") or ""
        if not name:
            yield from rules.required(None, f"{at}.name")
        elif len(name) > _MAX_SYSCTL or not _SYSCTL.fullmatch(name):
            reason = (
                f'Invalid value: "{name}": want parts of a-z, 0-9, - and _, with . or / between'
            )
            yield from rules.invalid(True, f"{at}.name", reason)
    yield from rules.unique((each.get("name"), f"{at}.name") for each, at in given)


def _validate_tolerations(spec: Object, here: str) -> Causes:
    for each, at in rules.indexed(spec.get("tolerations"), f"{here}.tolerations"):
        key, value = each.get("key") or "", each.get("value") or ""
        operator = each.get("operator") or ""
        broken = key and not rules.is_qualified(key)
        yield from rules.invalid(broken, f"{at}.key", f"{key!r} is not a valid label key")
        yield from rules.one_of(operator, _OPERATORS, f"{at}.operator")
        reason = "must be Exists if there is no key"
        yield from rules.invalid(not key and operator != "Exists", f"{at}.operator", reason)
        extra = operator == "Exists" and value
        yield from rules.invalid(extra, f"{at}.operator", "Exists must not have a value")


def _validate_containers(spec: Object, here: str) -> Causes:
    yield from rules.required(spec.get("containers"), f"{here}.containers")
    known = {each.get("name", "") for each in spec.get("volumes") or () if each}
    special = {
        "initContainers": containers.validate_init,
        "ephemeralContainers": containers.validate_ephemeral,
    }
    for field in _CONTAINER_FIELDS:
        for each, at in rules.indexed(spec.get(field), f"{here}.{field}"):
            yield from containers.validate_container(each, at, known)
            if check := special.get(field):
                yield from check(each, at)
    yield from rules.unique(
        (each.get("name"), f"{at}.name")
        for field in _CONTAINER_FIELDS
        for each, at in rules.indexed(spec.get(field), f"{here}.{field}")
    )


def validate_pod_update(new: Object, old: Object) -> Causes:
    """Allow changes of images, a shorter deadline and more tolerations, and nothing else."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    for field in ("containers", "initContainers"):
        if len(after.get(field) or ()) != len(before.get(field) or ()):
            yield from rules.forbidden(
                True, f"spec.{field}", "containers must not be added or removed"
            )
            return
    yield from _validate_deadline(
        after.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    )
    changed = _with_old_mutable_fields(after, before) != before
    reason = (
        "only images, activeDeadlineSeconds (to set or lower), tolerations (to add) and "
        "terminationGracePeriodSeconds (from below zero to 1) may change"
    )
    yield from rules.forbidden(changed, "spec", reason)


def _with_old_mutable_fields(after: Object, before: Object) -> Object:
    result = copy.deepcopy(dict(after))
    for field in ("containers", "initContainers"):
        for new_container, old_container in zip(
            result.get(field) or (), before.get(field) or (), strict=True
        ):
            new_container["image"] = old_container.get("image")
    _restore(result, before, "activeDeadlineSeconds")
    grace = before.get("terminationGracePeriodSeconds")
    if result.get("terminationGracePeriodSeconds") == 1 and grace is not None and grace < 0:
        _restore(result, before, "terminationGracePeriodSeconds")
    tolerations = {identity(each) for each in result.get("tolerations") or ()}
    if all(identity(each) in tolerations for each in before.get("tolerations") or ()):
        _restore(result, before, "tolerations")
    return result


def _restore(result: dict[str, Any], before: Object, part: str) -> None:
    result.pop(part, None)
    if part in before:
        result[part] = before[part]


def _validate_deadline(new: int | None, old: int | None) -> Causes:
    here = "spec.activeDeadlineSeconds"
    if old is not None:
        yield from rules.invalid(new is None, here, "must not be removed")
        reason = "must not be raised"
        yield from rules.invalid(new is not None and new > old, here, reason)


def validate_ephemeral_update(new: Object, old: Object) -> Causes:
    """Allow new ephemeral containers; existing ones must not change or be removed."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    here = "spec.ephemeralContainers"
    new_containers = {each.get("name"): each for each in after.get("ephemeralContainers") or ()}
    for old_container in before.get("ephemeralContainers") or ():
        same = new_containers.get(old_container.get("name")) == old_container
        reason = f"{old_container.get('name')!r} must not be changed or removed"
        yield from rules.forbidden(not same, here, reason)
    yield from _validate_containers(after, "spec")


def warnings(obj: Object) -> Iterator[str]:
    """Return warnings about environment variables that hide an earlier one."""
    spec = obj.get("spec") or {}
    for field in _CONTAINER_FIELDS:
        for container, here in rules.indexed(spec.get(field), f"spec.{field}"):
            names = set()
            for variable, at in rules.indexed(container.get("env"), f"{here}.env"):
                name = variable.get("name")
                if name in names:
                    yield f"{at}: hides an earlier {name!r}, which an apply may remove"
                names.add(name)
