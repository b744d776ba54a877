"""The RBAC authorizer: reads the stored roles and bindings, and reloads them when one of them changes.

It takes a user and authorizer attributes, and returns the reason why RBAC allows the request, or None.
Members of the group `system:masters` may do everything, before any rule is read.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from kubeling.apiserver.json_value import identity
from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.request import RequestInfo, UserInfo
from kubeling.apiserver.selectors import matches
from kubeling.apiserver.status import StatusError, forbidden, forbidden_object, not_found
from kubeling.apiserver.storage.storage import NamespacedName, Object, ObjectStore
from kubeling.service_account import names

MASTERS = "system:masters"
_KINDS = ("ClusterRoleBinding", "RoleBinding", "ClusterRole", "Role")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizerAttributes:
    """The attributes of a request that the authorizer decides on.

    `path` is set for a non-resource request; the fields of a resource are then empty.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """Return the resource with its subresource, as in RBAC rules."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def authorizer_attributes(target: RequestInfo) -> AuthorizerAttributes:
    """Return the authorizer attributes of a request; rules with resourceNames can allow a selected name."""
    if not target.plural:
        return AuthorizerAttributes(verb=target.verb, path=target.path)
    return AuthorizerAttributes(
        verb=target.verb,
        group=target.group,
        resource=target.plural,
        subresource=target.subresource,
        namespace=target.namespace,
        name=target.name or target.selected_name,
    )


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """A rule of a role.

    `body` is as it is stored; `values` has its lists as sets, because a list may have thousands of values,
    and every request of the user searches it.
    """

    body: Mapping[str, Any]
    values: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The rules that a binding grants to a user.

    `namespace` is empty if the rules are valid in every namespace; `reason` names the binding.
    """

    namespace: str
    rules: Sequence[PolicyRule]
    reason: str


class RbacAuthorizer:
    """Authorizes requests by the stored roles and bindings."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._revisions: tuple[int, ...] = ()
        # By namespace: a request must not read the bindings of all other namespaces.
        self._bindings: dict[str, list[_Binding]] = {}
        self._parsed: dict[str, dict[NamespacedName, tuple[int, Any]]] = {}
        self._roles: dict[tuple[str, str], list[PolicyRule]] = {}

    def authorize(self, user: UserInfo, attributes: AuthorizerAttributes) -> str | None:
        """Return the reason why RBAC allows a request; None if no rule allows it."""
        if MASTERS in user.groups:
            return ""
        for grant in self._first_grants(user, attributes.namespace):
            if any(_rule_allows(rule.values, attributes) for rule in grant.rules):
                return grant.reason
        return None

    def check(self, user: UserInfo, attributes: AuthorizerAttributes) -> None:
        """Raise an error unless RBAC allows a request.

        Raises StatusError 403, with the message of kube-apiserver.
        """
        if self.authorize(user, attributes) is None:
            raise _forbidden(user, attributes)

    def grants(self, user: UserInfo, namespace: str) -> Iterator[Grant]:
        """Yield the grants of a user that are valid in every namespace or in this namespace."""
        self._refresh()
        keys = [("User", user.name), *(("Group", group) for group in user.groups)]
        in_namespace = self._bindings.get(namespace, ()) if namespace else ()
        for binding in (*self._bindings.get("", ()), *in_namespace):
            found = [binding.subjects[key] for key in keys if key in binding.subjects]
            if found:
                subject = min(found, key=lambda each: each[0])[1]
                yield Grant(
                    namespace=binding.namespace,
                    rules=self._roles.get(_role_key(binding.role, binding.namespace), ()),
                    reason=_grant_reason(binding, subject),
                )

    def rules(self, user: UserInfo, namespace: str) -> list[PolicyRule]:
        """Return the rules of a user that are valid in every namespace or in this namespace."""
        return [rule for grant in self._first_grants(user, namespace) for rule in grant.rules]

    def _first_grants(self, user: UserInfo, namespace: str) -> Iterator[Grant]:
        """Yield the first grant of each role: thousands of bindings may name one role."""
        found: set[int] = set()
        for grant in self.grants(user, namespace):
            if id(grant.rules) not in found:
                found.add(id(grant.rules))
                yield grant

    def role_rules(
        self, ref: Mapping[str, str], namespace: str
    ) -> Sequence[Mapping[str, Any]] | None:
        """Return the rules of a binding's role; None if the role does not exist."""
        self._refresh()
        rules = self._roles.get(_role_key(ref, namespace))
        return None if rules is None else [rule.body for rule in rules]

    def _refresh(self) -> None:
        kinds = [kind_by_name(kind) for kind in _KINDS]
        revisions = tuple(self._store.last_change(kind) for kind in kinds)
        if revisions == self._revisions and self._bindings:
            return
        cluster_bindings, bindings, cluster_roles, roles = (
            self._parse_changed(kind) for kind in kinds
        )
        self._bindings = {"": cluster_bindings}
        for binding in bindings:
            self._bindings.setdefault(binding.namespace, []).append(binding)
        self._roles = {
            ("", role["metadata"]["name"]): aggregate_rules(role, cluster_roles)
            for role in cluster_roles
        }
        for role in roles:
            key = role["metadata"]["namespace"], role["metadata"]["name"]
            self._roles[key] = role["rules"]
        self._revisions = revisions

    def _parse_changed(self, kind: Kind) -> list[Any]:
        """Return the roles or bindings of a kind; those that did not change are not parsed again."""
        before, after = self._parsed.get(kind.kind, {}), {}
        for entry in self._store.list_stored(kind):
            name = entry.namespace, entry.name
            old = before.get(name)
            if old is None or old[0] != entry.revision:
                obj = entry.object()
                old = entry.revision, _parse_binding(obj) if "roleRef" in obj else _parse_role(obj)
            after[name] = old
        self._parsed[kind.kind] = after
        return [value for _, value in after.values()]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Binding:
    """A binding whose subjects are found by kind and name; the namespace is empty for a ClusterRoleBinding.

    `subjects` maps ("User" or "Group", name) to the position in the binding and the subject. An account is
    the user that its token names.
    """

    name: str
    namespace: str
    role: Mapping[str, str]
    subjects: Mapping[tuple[str, str], tuple[int, Mapping[str, str]]]


def _parse_binding(obj: Object) -> _Binding:
    namespace = obj["metadata"].get("namespace", "")
    subjects: dict[tuple[str, str], tuple[int, Mapping[str, str]]] = {}
    for at, subject in enumerate(obj.get("subjects") or ()):
        kind, name = subject["kind"], subject["name"]
        if kind == "ServiceAccount":
            kind, name = "User", names.subject(subject.get("namespace") or namespace, name)
        subjects.setdefault((kind, name), (at, subject))
    return _Binding(
        name=obj["metadata"]["name"], namespace=namespace, role=obj["roleRef"], subjects=subjects
    )


def _parse_role(obj: Object) -> Object:
    """Return a role with parsed rules."""
    rules = [
        PolicyRule(rule, {name: frozenset(values or ()) for name, values in rule.items()})
        for rule in obj.get("rules") or ()
    ]
    return {**obj, "rules": rules}


def aggregate_rules(role: Object, roles: Sequence[Object]) -> list[PolicyRule]:
    """Return the rules of a cluster role and of the cluster roles that its aggregationRule selects."""
    rules: list[PolicyRule] = role["rules"]
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
    if not selectors:
        return rules
    rules = list(rules)
    known = {identity(rule.body) for rule in rules}
    for other in roles:
        labels = other["metadata"].get("labels") or {}
        if other is not role and any(matches(selector, labels) for selector in selectors):
            for rule in other["rules"]:
                if (form := identity(rule.body)) not in known:
                    known.add(form)
                    rules.append(rule)
    return rules


def _role_key(ref: Mapping[str, str], namespace: str) -> tuple[str, str]:
    return (namespace if ref["kind"] == "Role" else ""), ref["name"]


def _grant_reason(binding: _Binding, subject: Mapping[str, str]) -> str:
    name, namespace, ref = binding.name, binding.namespace, binding.role
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    binding_name = f"{name}/{namespace}" if namespace else name
    subject_name = subject["name"]
    if subject["kind"] == "ServiceAccount":
        subject_name = f"{subject_name}/{subject.get('namespace') or namespace}"
    role = f'{ref["kind"]} "{ref["name"]}"'
    return (
        f'RBAC: allowed by {kind} "{binding_name}" of {role} to {subject["kind"]} "{subject_name}"'
    )


def _rule_allows(rule: Mapping[str, Any], attributes: AuthorizerAttributes) -> bool:
    if not includes(rule.get("verbs"), attributes.verb):
        return False
    if attributes.path:
        return any(url_matches(each, attributes.path) for each in rule.get("nonResourceURLs") or ())
    names = rule.get("resourceNames") or ()
    return (
        includes(rule.get("apiGroups"), attributes.group)
        and resource_matches(rule.get("resources") or (), attributes)
        and (not names or attributes.name in names)
    )


def includes(values: Collection[str] | None, wanted: str) -> bool:
    """Return whether a list of a rule contains a value or the wildcard `*`."""
    return values is not None and ("*" in values or wanted in values)


def resource_matches(resources: Collection[str], attributes: AuthorizerAttributes) -> bool:
    """Return whether a rule's resources contain the requested one; subresources are not included."""
    if "*" in resources or attributes.full_resource in resources:
        return True
    return bool(attributes.subresource) and f"*/{attributes.subresource}" in resources


def url_matches(pattern: str, path: str) -> bool:
    """Return whether a rule's URL is this path, or a prefix of it if it ends with `*`."""
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern == path


def _forbidden(user: UserInfo, attributes: AuthorizerAttributes) -> StatusError:
    if attributes.path:
        return forbidden(
            "", f'forbidden: User "{user.name}" cannot {attributes.verb} path "{attributes.path}"'
        )
    resource = (
        f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    )
    what = f'{resource} "{attributes.name}"' if attributes.name else resource
    binding_namespace = (
        f'in the namespace "{attributes.namespace}"'
        if attributes.namespace
        else "at the cluster scope"
    )
    return forbidden(
        attributes.resource,
        f'{what} is forbidden: User "{user.name}" cannot {attributes.verb} resource '
        f'"{attributes.full_resource}" in API group "{attributes.group}" {binding_namespace}',
        name=attributes.name,
        group=attributes.group,
    )


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


def check_escalation(
    rbac: RbacAuthorizer, user: UserInfo, kind: Kind, new: Object, old: Object | None
) -> None:
    """Raise an error if this user must not write this role or binding; do nothing for other kinds.

    Without this check, a user who may write roles could grant themselves every permission. A user may write a
    role if the user's own grants cover each of its rules, or if the user may `escalate`. A user may write a
    binding if the user's grants cover the rules of its role, or if the user may `bind` that role.

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
