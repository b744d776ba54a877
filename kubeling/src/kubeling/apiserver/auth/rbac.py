"""The RBAC authorizer: reads the stored roles and bindings, and reloads them when one of them changes.

It takes a user and authorizer attributes, and returns the reason why RBAC allows the request, or None.
Members of the group `system:masters` may do everything, before any rule is read.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeling.apiserver.json_value import identity
from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.request import RequestInfo, UserInfo
from kubeling.apiserver.selectors import matches
from kubeling.apiserver.status import StatusError, forbidden
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
