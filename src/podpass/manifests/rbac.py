"""Build the webhook's ServiceAccount and RBAC: read ServiceAccounts, update its Secret and registration."""

from typing import Any

from podpass import names
from podpass.admission import webhook_configuration
from podpass.manifests.meta import (
    ACCOUNT,
    ROLE,
    ROLE_BINDING,
    SERVER_CERT,
    Object,
    build_namespaced_object,
    build_object,
)
from podpass.manifests.values import ManifestValues

_GROUP = "rbac.authorization.k8s.io"
_VERSION = f"{_GROUP}/v1"
# The webhook watches its own objects by name, so it needs no list.
_UPDATE_VERBS = ["get", "watch", "update"]


def build_rbac_objects(values: ManifestValues) -> list[Object]:
    """Build the ServiceAccount, its roles and their bindings."""
    found = [build_namespaced_object(values, "v1", "ServiceAccount", ACCOUNT)]
    if not values.cert_manager:
        found += [
            build_namespaced_object(values, _VERSION, "Role", ROLE, rules=_build_namespace_rules()),
            build_namespaced_object(
                values, _VERSION, "RoleBinding", ROLE_BINDING, **_bind("Role", values)
            ),
        ]
    return [
        *found,
        build_object(_VERSION, "ClusterRole", ROLE, rules=_build_cluster_rules(values)),
        build_object(_VERSION, "ClusterRoleBinding", ROLE_BINDING, **_bind("ClusterRole", values)),
    ]


def _build_namespace_rules() -> list[Object]:
    # RBAC cannot restrict `create` to a name. Without it, a deleted Secret would stay missing.
    return [
        {**_build_rule("", "secrets", _UPDATE_VERBS), "resourceNames": [SERVER_CERT]},
        _build_rule("", "secrets", ["create"]),
    ]


def _build_cluster_rules(values: ManifestValues) -> list[Object]:
    rules = [webhook_configuration.READ_ACCOUNTS_RULE]
    if not values.cert_manager:
        registrations = _build_rule(
            "admissionregistration.k8s.io", "mutatingwebhookconfigurations", _UPDATE_VERBS
        )
        rules.append({**registrations, "resourceNames": [names.WEBHOOK_CONFIGURATION]})
    if values.events:
        rules.append(webhook_configuration.WRITE_EVENTS_RULE)
    return rules


def _build_rule(group: str, resource: str, verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": [resource], "verbs": verbs}


def _bind(kind: str, values: ManifestValues) -> dict[str, Any]:
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": values.namespace}
    return {
        "roleRef": {"apiGroup": _GROUP, "kind": kind, "name": ROLE},
        "subjects": [account],
    }
