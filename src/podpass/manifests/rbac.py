"""Who the webhook is and what it may do: read accounts, keep its own Secret and its own registration."""

from typing import Any

from podpass import names
from podpass.admission import webhook_configuration
from podpass.manifests.meta import (
    ACCOUNT,
    ROLE,
    ROLE_BINDING,
    SERVER_CERT,
    Object,
    own,
    write,
)
from podpass.manifests.values import Values

_GROUP = "rbac.authorization.k8s.io"
_VERSION = f"{_GROUP}/v1"
# What it keeps it watches by name, so no list is needed.
_KEEPS = ["get", "watch", "update"]


def rights(values: Values) -> list[Object]:
    """Write the account, its roles and their bindings."""
    found = [own(values, "v1", "ServiceAccount", ACCOUNT)]
    if not values.cert_manager:
        found += [
            own(values, _VERSION, "Role", ROLE, rules=_own_rules()),
            own(values, _VERSION, "RoleBinding", ROLE_BINDING, **_binds("Role", values)),
        ]
    return [
        *found,
        write(_VERSION, "ClusterRole", ROLE, rules=_cluster_rules(values)),
        write(_VERSION, "ClusterRoleBinding", ROLE_BINDING, **_binds("ClusterRole", values)),
    ]


def _own_rules() -> list[Object]:
    # `create` knows no names, so it is left out: the Secret comes with the manifest.
    return [{**_rule("", "secrets", _KEEPS), "resourceNames": [SERVER_CERT]}]


def _cluster_rules(values: Values) -> list[Object]:
    rules = [webhook_configuration.READS_ACCOUNTS]
    if not values.cert_manager:
        registrations = _rule(
            "admissionregistration.k8s.io", "mutatingwebhookconfigurations", _KEEPS
        )
        rules.append({**registrations, "resourceNames": [names.WEBHOOK_CONFIGURATION]})
    if values.events:
        rules.append(webhook_configuration.WRITES_EVENTS)
    return rules


def _rule(group: str, resource: str, verbs: list[str]) -> Object:
    return {"apiGroups": [group], "resources": [resource], "verbs": verbs}


def _binds(kind: str, values: Values) -> dict[str, Any]:
    account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": values.namespace}
    return {
        "roleRef": {"apiGroup": _GROUP, "kind": kind, "name": ROLE},
        "subjects": [account],
    }
