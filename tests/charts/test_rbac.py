"""The webhook's permissions in a cluster are exactly this list."""

from typing import Any

import pytest

from tests.charts.rendering import CERT_MANAGER, SETS, Helm, Values, find

pytestmark = pytest.mark.kubernetes

ACCOUNTS = {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["get", "list", "watch"]}
ITS_REGISTRATION = {
    "apiGroups": ["admissionregistration.k8s.io"],
    "resources": ["mutatingwebhookconfigurations"],
    "resourceNames": ["azure-wi-webhook-mutating-webhook-configuration"],
    "verbs": ["get", "watch", "update"],
}
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}
ITS_SECRET = {
    "apiGroups": [""],
    "resources": ["secrets"],
    "resourceNames": ["azure-wi-webhook-server-cert"],
    "verbs": ["get", "watch", "update"],
}
# RBAC cannot restrict `create` to a name.
CREATE_SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}


def _rules(helm: Helm, values: Values | None = None) -> dict[str, list[dict[str, Any]]]:
    return {
        one["kind"]: one["rules"]
        for one in helm.render(values)
        if one["kind"] in ("Role", "ClusterRole")
    }


def test_permissions_are_exactly_the_listed_ones(helm: Helm) -> None:
    assert _rules(helm) == {
        "ClusterRole": [ACCOUNTS, ITS_REGISTRATION, EVENTS],
        "Role": [ITS_SECRET, CREATE_SECRETS],
    }


def test_webhook_without_events_may_not_create_events(helm: Helm) -> None:
    rules = _rules(helm, {"events": {"enabled": False}})
    assert rules["ClusterRole"] == [ACCOUNTS, ITS_REGISTRATION]


@pytest.mark.parametrize("values", [CERT_MANAGER, {"disableCertRotation": True}])
def test_webhook_with_an_external_certificate_has_no_access_to_secrets(
    helm: Helm, values: Values
) -> None:
    assert _rules(helm, values) == {"ClusterRole": [ACCOUNTS, EVENTS]}


@pytest.mark.parametrize("name", SETS)
def test_no_set_of_values_grants_other_secrets_or_a_wildcard(helm: Helm, name: str) -> None:
    for kind, rules in _rules(helm, SETS[name]).items():
        for rule in rules:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            if "secrets" in rule["resources"]:
                assert kind == "Role"
                assert rule in (ITS_SECRET, CREATE_SECRETS)


@pytest.mark.parametrize("name", SETS)
def test_roles_are_bound_to_its_account_only(helm: Helm, name: str) -> None:
    found = helm.render(SETS[name])
    account = find(found, "ServiceAccount")["metadata"]
    subject = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    for one in found:
        if one["kind"].endswith("Binding"):
            assert one["subjects"] == [subject]
