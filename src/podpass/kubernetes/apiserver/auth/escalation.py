"""Nobody grants what they do not hold: the check on every write of a role or a binding.

Without it, whoever may write roles could give themselves the whole cluster. A role is let through if each
of its rules is covered by the writer's own grants or the writer may `escalate`; a binding if those of its
role are, or the writer may `bind` that role.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from podpass.kubernetes.apiserver.auth.rbac import (
    MASTERS,
    Asked,
    Rbac,
    fits_path,
    has,
    has_resource,
)
from podpass.kubernetes.apiserver.kinds import Kind, named
from podpass.kubernetes.apiserver.request import User
from podpass.kubernetes.apiserver.status import StatusError, forbidden, not_found
from podpass.kubernetes.apiserver.storage.storage import Object

Rule = Mapping[str, Any]

_ROLES, _BINDINGS = ("Role", "ClusterRole"), ("RoleBinding", "ClusterRoleBinding")
_EVERYTHING: Sequence[Rule] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
_MAX_SHOWN = 20
# No role of people comes near; a role made to keep the server busy is taken for one that is not covered.
_MAX_COMPARISONS, _MAX_COMBINATIONS = 2_000_000, 100_000
_ANY_NAME = ""


def check(rbac: Rbac, user: User, kind: Kind, new: Object, old: Object | None) -> None:
    """Let a role or binding be written by this user; other kinds pass.

    Errors:  StatusError 403, and 404 for a binding of a role that is not there.
    """
    if MASTERS in user.groups or kind.kind not in _ROLES + _BINDINGS:
        return
    if old is not None and _about_itself_only(new, old):
        return
    if kind.kind in _ROLES:
        _check_role(rbac, user, kind, new, old)
    else:
        _check_binding(rbac, user, kind, new)


def _check_role(rbac: Rbac, user: User, kind: Kind, new: Object, old: Object | None) -> None:
    namespace = new["metadata"].get("namespace", "")
    # A rule cannot let somebody escalate one name that does not exist yet.
    name = old["metadata"]["name"] if old else ""
    question = Asked(
        verb="escalate", group=kind.group, resource=kind.plural, namespace=namespace, name=name
    )
    if rbac.allowed(user, question) is not None:
        return
    held = _held(rbac, user, namespace)
    _confirm(user, kind, new, held, new.get("rules") or ())
    # What it collects is not known now: roles that others label later belong to it too.
    if (new.get("aggregationRule") or (old or {}).get("aggregationRule")) and _lacking(
        held, _EVERYTHING
    ):
        why = "only who holds every right may use an aggregationRule"
        raise _refused(kind, new, why)


def _check_binding(rbac: Rbac, user: User, kind: Kind, new: Object) -> None:
    namespace, ref = new["metadata"].get("namespace", ""), new["roleRef"]
    role = named(ref["kind"])
    question = Asked(
        verb="bind",
        group=role.group,
        resource=role.plural,
        namespace=namespace,
        name=ref["name"],
    )
    if rbac.allowed(user, question) is not None:
        return
    rules = rbac.rules(ref, namespace)
    if rules is None:
        raise not_found(role, ref["name"])
    _confirm(user, kind, new, _held(rbac, user, namespace), rules)


def _held(rbac: Rbac, user: User, namespace: str) -> list[Rule]:
    return [rule for grant in rbac.grants(user, namespace) for rule in grant.rules]


def _confirm(
    user: User, kind: Kind, new: Object, held: Sequence[Rule], rules: Sequence[Rule]
) -> None:
    if lacking := _lacking(held, rules):
        groups = " ".join(f'"{group}"' for group in user.groups)
        shown = "; ".join(orjson.dumps(rule).decode() for rule in lacking[:_MAX_SHOWN])
        raise _refused(
            kind,
            new,
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not '
            f"currently held: {shown}",
        )


def _refused(kind: Kind, new: Object, why: str) -> StatusError:
    name = new["metadata"].get("name", "")
    message = f'{kind.resource} "{name}" is forbidden: {why}'
    return forbidden(kind.plural, message, name=name, group=kind.group)


def _about_itself_only(new: Object, old: Object) -> bool:
    """Tell whether a change is only of what the collection of garbage needs to get rid of it."""
    return _granting(new) == _granting(old)


def _granting(obj: Object) -> Object:
    ignored = ("finalizers", "ownerReferences", "managedFields", "generation", "resourceVersion")
    metadata = {key: value for key, value in obj["metadata"].items() if key not in ignored}
    return {**obj, "metadata": metadata}


def _lacking(held: Sequence[Rule], rules: Sequence[Rule]) -> list[Rule]:
    values = sum(len(each or ()) for rule in rules for each in rule.values())
    if values * len(held) > _MAX_COMPARISONS:
        return list(rules)
    return [rule for rule in rules if not covered(held, rule)]


def covered(held: Sequence[Rule], rule: Rule) -> bool:
    """Tell whether each single right of a rule is one of the held rules' rights.

    A rule is the product of its lists, which may be billions of rights. So each value is turned into the
    set of held rules that admit it, as bits; values of equal sets count once, and a combination is held
    if its sets share a rule.
    """
    verbs = _admitting(held, rule.get("verbs"), lambda own, verb: has(own.get("verbs"), verb))
    by_url = _admitting(
        held,
        rule.get("nonResourceURLs"),
        lambda own, url: any(fits_path(each, url) for each in own.get("nonResourceURLs") or ()),
    )
    by_resource = (
        _admitting(held, rule.get("apiGroups"), lambda own, one: has(own.get("apiGroups"), one)),
        _admitting(held, rule.get("resources"), _admits_resource),
        _admitting(held, rule.get("resourceNames") or (_ANY_NAME,), _admits_name),
    )
    return _all_share(verbs, by_url) and _all_share(verbs, *by_resource)


def _admitting(
    held: Sequence[Rule], values: Iterable[str] | None, admits: Callable[[Rule, str], bool]
) -> set[int]:
    return {
        sum(1 << at for at, own in enumerate(held) if admits(own, value))
        for value in dict.fromkeys(values or ())
    }


def _all_share(*choices: set[int]) -> bool:
    if functools.reduce(operator.and_, itertools.chain(*choices), -1):
        return True  # one held rule has it all
    shared = {-1}
    for each in choices:
        if len(shared) * len(each) > _MAX_COMBINATIONS:
            return False
        shared = {one & other for one in shared for other in each}
    return 0 not in shared


def _admits_resource(own: Rule, value: str) -> bool:
    resource, _, subresource = value.partition("/")
    asked = Asked(verb="", resource=resource, subresource=subresource)
    return has_resource(own.get("resources") or (), asked)


def _admits_name(own: Rule, name: str) -> bool:
    names = own.get("resourceNames") or ()
    return not names or (name != _ANY_NAME and name in names)
