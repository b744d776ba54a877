"""RBAC escalation prevention: check every write of a role or a binding.

Without this check, a user who may write roles could grant themselves every permission. A user may write a
role if the user's own grants cover each of its rules, or if the user may `escalate`. A user may write a
binding if the user's grants cover the rules of its role, or if the user may `bind` that role.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from kubeling.apiserver.auth.rbac import (
    MASTERS,
    AuthorizerAttributes,
    RbacAuthorizer,
    includes,
    resource_matches,
    url_matches,
)
from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.request import UserInfo
from kubeling.apiserver.status import forbidden_object, not_found
from kubeling.apiserver.storage.storage import Object

Rule = Mapping[str, Any]

_ROLES, _BINDINGS = ("Role", "ClusterRole"), ("RoleBinding", "ClusterRoleBinding")
_ALL_RULES: Sequence[Rule] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
_MAX_LISTED_RULES = 20
# Real roles are far below these limits. A role above them could overload the server and is not covered.
_MAX_COMPARISONS, _MAX_COMBINATIONS = 200_000, 100_000
_ANY_NAME = ""


def check(
    rbac: RbacAuthorizer, user: UserInfo, kind: Kind, new: Object, old: Object | None
) -> None:
    """Raise an error if this user must not write this role or binding; do nothing for other kinds.

    Raises StatusError 403, and 404 for a binding to a role that does not exist.
    """
    if MASTERS in user.groups or kind.type_name not in _ROLES + _BINDINGS:
        return
    # The garbage collector may change this metadata.
    if old is not None and _without_ignored_metadata(new) == _without_ignored_metadata(old):
        return
    if kind.type_name in _ROLES:
        _check_role(rbac, user, kind, new, old)
    else:
        _check_binding(rbac, user, kind, new)


def _check_role(
    rbac: RbacAuthorizer, user: UserInfo, kind: Kind, new: Object, old: Object | None
) -> None:
    namespace = new["metadata"].get("namespace", "")
    # A rule with resourceNames cannot allow `escalate` for a role that does not exist yet.
    name = old["metadata"]["name"] if old else ""
    attributes = AuthorizerAttributes(
        verb="escalate", group=kind.group, resource=kind.plural, namespace=namespace, name=name
    )
    if rbac.authorize(user, attributes) is not None:
        return
    granted = _grants_of(rbac, user, namespace)
    _require_covered(user, kind, new, granted, new.get("rules") or ())
    # The rules of an aggregated role are not known now: it also includes roles that are labelled later.
    if (new.get("aggregationRule") or (old or {}).get("aggregationRule")) and _uncovered(
        granted, _ALL_RULES
    ):
        reason = "only a user with every permission may use an aggregationRule"
        raise forbidden_object(kind, new["metadata"].get("name", ""), reason)


def _check_binding(rbac: RbacAuthorizer, user: UserInfo, kind: Kind, new: Object) -> None:
    namespace, ref = new["metadata"].get("namespace", ""), new["roleRef"]
    role = kind_by_name(ref["kind"])
    attributes = AuthorizerAttributes(
        verb="bind",
        group=role.group,
        resource=role.plural,
        namespace=namespace,
        name=ref["name"],
    )
    if rbac.authorize(user, attributes) is not None:
        return
    rules = rbac.role_rules(ref, namespace)
    if rules is None:
        raise not_found(role, ref["name"])
    _require_covered(user, kind, new, _grants_of(rbac, user, namespace), rules)


def _grants_of(rbac: RbacAuthorizer, user: UserInfo, namespace: str) -> list[Rule]:
    return [rule.values for rule in rbac.rules(user, namespace)]


def _require_covered(
    user: UserInfo, kind: Kind, new: Object, granted: Sequence[Rule], rules: Sequence[Rule]
) -> None:
    if uncovered := _uncovered(granted, rules):
        groups = " ".join(f'"{group}"' for group in user.groups)
        shown = "; ".join(orjson.dumps(rule).decode() for rule in uncovered[:_MAX_LISTED_RULES])
        raise forbidden_object(
            kind,
            new["metadata"].get("name", ""),
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not '
            f"currently held: {shown}",
        )


def _without_ignored_metadata(obj: Object) -> Object:
    ignored = ("finalizers", "ownerReferences", "managedFields", "generation", "resourceVersion")
    metadata = {key: value for key, value in obj["metadata"].items() if key not in ignored}
    return {**obj, "metadata": metadata}


def _uncovered(granted: Sequence[Rule], rules: Sequence[Rule]) -> list[Rule]:
    values = sum(len(each or ()) for rule in rules for each in rule.values())
    # A URL is compared with each pattern, any other value once with each rule.
    urls = sum(len(rule.get("nonResourceURLs") or ()) for rule in rules)
    patterns = sum(len(own.get("nonResourceURLs") or ()) for own in granted)
    if values * len(granted) + urls * patterns > _MAX_COMPARISONS:
        return list(rules)
    return [rule for rule in rules if not is_covered(granted, rule)]


def is_covered(granted: Sequence[Rule], rule: Rule) -> bool:
    """Return whether each permission of a rule is a permission of one of the granted rules.

    A rule is the product of its lists, which can be billions of permissions. So each value is mapped to the
    set of granted rules that allow it, as a bit mask. Values with equal masks count once, and a combination
    is granted if its masks have a common bit.
    """
    verbs = _rule_masks(
        granted, rule.get("verbs"), lambda own, verb: includes(own.get("verbs"), verb)
    )
    by_url = _rule_masks(
        granted,
        rule.get("nonResourceURLs"),
        lambda own, url: any(url_matches(each, url) for each in own.get("nonResourceURLs") or ()),
    )
    by_resource = (
        _rule_masks(
            granted, rule.get("apiGroups"), lambda own, one: includes(own.get("apiGroups"), one)
        ),
        _rule_masks(granted, rule.get("resources"), _allows_resource),
        _rule_masks(granted, rule.get("resourceNames") or (_ANY_NAME,), _allows_name),
    )
    return _all_have_common_rule(verbs, by_url) and _all_have_common_rule(verbs, *by_resource)


def _rule_masks(
    granted: Sequence[Rule], values: Iterable[str] | None, allows: Callable[[Rule, str], bool]
) -> set[int]:
    return {
        int("".join("1" if allows(own, value) else "0" for own in granted) or "0", 2)
        for value in dict.fromkeys(values or ())
    }


def _all_have_common_rule(*choices: set[int]) -> bool:
    if functools.reduce(operator.and_, itertools.chain(*choices), -1):
        return True  # one granted rule allows everything
    shared = {-1}
    for each in choices:
        if len(shared) * len(each) > _MAX_COMBINATIONS:
            return False
        shared = {one & other for one in shared for other in each}
    return 0 not in shared


def _allows_resource(own: Rule, value: str) -> bool:
    resource, _, subresource = value.partition("/")
    attributes = AuthorizerAttributes(verb="", resource=resource, subresource=subresource)
    return resource_matches(own.get("resources") or (), attributes)


def _allows_name(own: Rule, name: str) -> bool:
    names = own.get("resourceNames") or ()
    return not names or (name != _ANY_NAME and name in names)
