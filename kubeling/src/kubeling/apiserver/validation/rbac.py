"""Rules for roles and bindings."""

from collections.abc import Mapping
from typing import Any

from kubeling.apiserver.kinds import RBAC
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes

Object = Mapping[str, Any]


def validate_role(obj: Object) -> Causes:
    """Check a Role or ClusterRole."""
    namespaced = bool((obj.get("metadata") or {}).get("namespace"))
    for rule, here in rules.indexed(obj.get("rules"), "rules"):
        yield from _validate_rule(rule, here, namespaced=namespaced)


def _validate_rule(rule: Object, here: str, *, namespaced: bool) -> Causes:
    yield from rules.required(rule.get("verbs"), f"{here}.verbs")
    if urls := rule.get("nonResourceURLs"):
        at = f"{here}.nonResourceURLs"
        yield from rules.invalid(namespaced, at, "a namespaced role must not grant URLs")
        mixed = any(rule.get(part) for part in ("apiGroups", "resources", "resourceNames"))
        yield from rules.invalid(mixed, at, "URLs and resources must be in different rules")
        yield from rules.required(urls, at)
    else:
        yield from rules.required(rule.get("apiGroups"), f"{here}.apiGroups")
        yield from rules.required(rule.get("resources"), f"{here}.resources")


def validate_binding(obj: Object) -> Causes:
    """Check a RoleBinding or ClusterRoleBinding."""
    ref = obj.get("roleRef") or {}
    namespaced = bool((obj.get("metadata") or {}).get("namespace"))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    yield from rules.one_of(ref.get("apiGroup"), (RBAC,), "roleRef.apiGroup")
    yield from rules.one_of(ref.get("kind"), kinds, "roleRef.kind")
    if name := ref.get("name"):
        broken = not rules.is_path_segment(name)
        yield from rules.invalid(broken, "roleRef.name", f"{name!r} is not a valid role name")
    else:
        yield from rules.required(None, "roleRef.name")
    for subject, here in rules.indexed(obj.get("subjects"), "subjects"):
        yield from _validate_subject(subject, here)


def _validate_subject(subject: Object, here: str) -> Causes:
    yield from rules.required(subject.get("name"), f"{here}.name")
    match subject.get("kind"):
        case "ServiceAccount":
            yield from rules.one_of(subject.get("apiGroup") or "", ("",), f"{here}.apiGroup")
            yield from rules.required(subject.get("namespace"), f"{here}.namespace")
        case "User" | "Group":
            yield from rules.one_of(subject.get("apiGroup"), (RBAC,), f"{here}.apiGroup")
        case other:
            yield from rules.one_of(other, ("Group", "ServiceAccount", "User"), f"{here}.kind")


def validate_binding_update(new: Object, old: Object) -> Causes:
    """Refuse a changed role: otherwise a user who may edit a binding could grant any role."""
    yield from rules.immutable(new.get("roleRef"), old.get("roleRef"), "roleRef")
