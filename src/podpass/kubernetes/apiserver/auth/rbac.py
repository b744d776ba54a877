"""Whether a user may do it: RBAC over the roles and bindings that are stored, nothing cached for long.

What enters is a user and what is asked; what leaves is the rule that allows it, or None. Whoever is in
`system:masters` may do everything, before any rule is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.request import Target, User
from podpass.kubernetes.apiserver.selectors import matches
from podpass.kubernetes.apiserver.status import StatusError, forbidden
from podpass.kubernetes.apiserver.storage.storage import Object, Store
from podpass.kubernetes.service_account import names

MASTERS = "system:masters"
_GROUP = "rbac.authorization.k8s.io"
_KINDS = ("ClusterRoleBinding", "RoleBinding", "ClusterRole", "Role")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question: may this be done.

    Shapes:  `path` is set for what is no resource, and then the rest is empty.
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
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def asked(target: Target, name: str = "") -> Asked:
    """Turn a request's target into the question RBAC answers."""
    if not target.plural:
        return Asked(verb=target.verb, path=target.path)
    return Asked(
        verb=target.verb,
        group=target.group,
        resource=target.plural,
        subresource=target.subresource,
        namespace=target.namespace,
        name=target.name or name,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A binding that concerns a user, with the rules of its role.

    Shapes:  `namespace` is empty where the rules hold everywhere.
    """

    namespace: str
    rules: Sequence[Mapping[str, Any]]
    why: str


class Rbac:
    """Answers questions from the stored roles and bindings."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: tuple[int, ...] = ()
        self._bindings: list[tuple[str, Object]] = []
        self._roles: dict[tuple[str, str], list[Mapping[str, Any]]] = {}

    def allowed(self, user: User, question: Asked) -> str | None:
        """Say why a user may do it; None if nothing allows it."""
        if MASTERS in user.groups:
            return ""
        for grant in self.grants(user, question.namespace):
            if any(_covers(rule, question) for rule in grant.rules):
                return grant.why
        return None

    def check(self, user: User, question: Asked) -> None:
        """Let a user through.

        Errors:  StatusError 403, in the words kubectl users know.
        """
        if self.allowed(user, question) is None:
            raise _forbidden(user, question)

    def grants(self, user: User, namespace: str) -> Iterator[Grant]:
        """Give what is bound to a user everywhere, and in one namespace."""
        self._refresh()
        for where, binding in self._bindings:
            if where and where != namespace:
                continue
            for subject in binding.get("subjects") or ():
                if _is_subject(subject, where, user):
                    rules = self._roles.get(_role_key(binding["roleRef"], where), ())
                    yield Grant(namespace=where, rules=rules, why=_why(binding, where, subject))
                    break

    def rules(self, ref: Mapping[str, str], namespace: str) -> Sequence[Mapping[str, Any]] | None:
        """Give the rules of the role a binding names; None if there is no such role."""
        self._refresh()
        return self._roles.get(_role_key(ref, namespace))

    def _refresh(self) -> None:
        kinds = [named(kind) for kind in _KINDS]
        seen = tuple(self._store.changed(kind) for kind in kinds)
        if seen == self._seen and self._bindings:
            return
        cluster_bindings, bindings, cluster_roles, roles = (
            [entry.object() for entry in self._store.entries(kind)] for kind in kinds
        )
        self._bindings = [("", each) for each in cluster_bindings]
        self._bindings += [(each["metadata"]["namespace"], each) for each in bindings]
        self._roles = {
            ("", role["metadata"]["name"]): aggregated(role, cluster_roles)
            for role in cluster_roles
        }
        for role in roles:
            key = role["metadata"]["namespace"], role["metadata"]["name"]
            self._roles[key] = role.get("rules") or []
        self._seen = seen


def aggregated(role: Object, roles: Sequence[Object]) -> list[Mapping[str, Any]]:
    """Give a cluster role's own rules and those of the roles it collects by label."""
    rules: list[Mapping[str, Any]] = list(role.get("rules") or [])
    selectors = (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
    for other in roles:
        labels = other["metadata"].get("labels") or {}
        if other is not role and any(matches(selector, labels) for selector in selectors):
            rules += [rule for rule in other.get("rules") or [] if rule not in rules]
    return rules


def _role_key(ref: Mapping[str, str], namespace: str) -> tuple[str, str]:
    return (namespace if ref["kind"] == "Role" else ""), ref["name"]


def _is_subject(subject: Mapping[str, str], namespace: str, user: User) -> bool:
    match subject["kind"]:
        case "User":
            return subject["name"] == user.name
        case "Group":
            return subject["name"] in user.groups
        case "ServiceAccount":
            where = subject.get("namespace") or namespace
            return user.name == names.subject(where, subject["name"])
    return False


def _why(binding: Object, namespace: str, subject: Mapping[str, str]) -> str:
    name, ref = binding["metadata"]["name"], binding["roleRef"]
    kind = "RoleBinding" if namespace else "ClusterRoleBinding"
    shown = f"{name}/{namespace}" if namespace else name
    who = subject["name"]
    if subject["kind"] == "ServiceAccount":
        who = f"{who}/{subject.get('namespace') or namespace}"
    role = f'{ref["kind"]} "{ref["name"]}"'
    return f'RBAC: allowed by {kind} "{shown}" of {role} to {subject["kind"]} "{who}"'


def _covers(rule: Mapping[str, Any], question: Asked) -> bool:
    if not has(rule.get("verbs"), question.verb):
        return False
    if question.path:
        return any(fits_path(each, question.path) for each in rule.get("nonResourceURLs") or ())
    names = rule.get("resourceNames") or ()
    return (
        has(rule.get("apiGroups"), question.group)
        and has_resource(rule.get("resources") or (), question)
        and (not names or question.name in names)
    )


def has(values: Sequence[str] | None, wanted: str) -> bool:
    """Tell whether a list of a rule holds a value, or the star that stands for all."""
    return values is not None and ("*" in values or wanted in values)


def has_resource(resources: Sequence[str], question: Asked) -> bool:
    """Tell whether a rule's resources hold the asked one; a resource never stands for its parts."""
    if "*" in resources or question.full_resource in resources:
        return True
    return bool(question.subresource) and f"*/{question.subresource}" in resources


def fits_path(pattern: str, path: str) -> bool:
    """Tell whether a rule's URL is this path, or with a star at its end begins it."""
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return pattern == path


def _forbidden(user: User, question: Asked) -> StatusError:
    if question.path:
        return forbidden(
            "", f'forbidden: User "{user.name}" cannot {question.verb} path "{question.path}"'
        )
    resource = f"{question.resource}.{question.group}" if question.group else question.resource
    what = f'{resource} "{question.name}"' if question.name else resource
    where = (
        f'in the namespace "{question.namespace}"' if question.namespace else "at the cluster scope"
    )
    return forbidden(
        question.resource,
        f'{what} is forbidden: User "{user.name}" cannot {question.verb} resource '
        f'"{question.full_resource}" in API group "{question.group}" {where}',
        name=question.name,
        group=question.group,
    )
