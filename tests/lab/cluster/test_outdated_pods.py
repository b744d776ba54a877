"""Pods whose variables differ from the annotations of their ServiceAccount."""

from typing import Any

import pytest

from podpass import names
from podpass.cli import pod_limits
from podpass.diagnose.drift.comparison import find_differences, injected_values
from podpass.lab.cluster.outdated_pods import read_pod

TENANT = "22222222-aaaa-4bbb-8ccc-000000000001"


def _env(*entries: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in entries]


OWN = (("HOME", "/"),)
TENANT_ENTRY, FILE = ("AZURE_TENANT_ID", TENANT), ("AZURE_FEDERATED_TOKEN_FILE", "/t")
INJECTED = (*OWN, ("AZURE_CLIENT_ID", "old"), TENANT_ENTRY, FILE, ("AZURE_AUTHORITY_HOST", "h"))


def _pod(env: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    containers = [{"name": "skipped", "env": []}, {"name": "app", "env": env}]
    metadata = {"name": "p", "namespace": "n", "uid": "u", **more.pop("metadata", {})}
    return {"metadata": metadata, "spec": {"containers": containers}, **more}


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        (INJECTED, {"AZURE_CLIENT_ID": "old", "AZURE_TENANT_ID": TENANT}),
        # The account had no client ID when the pod was created.
        ((*OWN, TENANT_ENTRY, FILE), {"AZURE_CLIENT_ID": "", "AZURE_TENANT_ID": TENANT}),
        # The author of the pod set the client ID, or the tenant of another directory.
        ((("AZURE_CLIENT_ID", "mine"), *OWN, TENANT_ENTRY, FILE), {"AZURE_TENANT_ID": TENANT}),
        (
            (("AZURE_TENANT_ID", "other"), *OWN, ("AZURE_CLIENT_ID", "old"), FILE),
            {"AZURE_CLIENT_ID": "old"},
        ),
        # The webhook did not change the container.
        (OWN, {}),
        ((), {}),
    ],
    ids=["injected", "no client", "own client", "own tenant", "not injected", "empty"],
)
def test_only_values_of_the_webhook_are_compared(
    entries: tuple[tuple[str, str], ...], found: dict[str, str]
) -> None:
    assert injected_values(_env(*entries)) == found


def test_variable_from_a_secret_is_not_compared() -> None:
    secret = {"name": "AZURE_CLIENT_ID", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    assert injected_values([secret, *_env(FILE)]) == {"AZURE_TENANT_ID": ""}


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"phase": "Succeeded"}},
        {"status": {"phase": "Failed"}},
        {"metadata": {"deletionTimestamp": "2026-11-29T00:00:00Z"}},
    ],
    ids=["succeeded", "failed", "deleted"],
)
def test_pod_that_ends_is_not_reported(change: dict[str, Any]) -> None:
    assert read_pod(_pod(_env(*INJECTED), **change)) is None
    assert read_pod(_pod(_env(*INJECTED), status={"phase": "Running"})) is not None


def test_pod_that_the_webhook_did_not_change_is_not_reported() -> None:
    assert read_pod(_pod(_env(*OWN))) is None


@pytest.mark.parametrize(
    ("annotations", "differs"),
    [
        ({names.CLIENT_ID: "old"}, {}),
        ({names.CLIENT_ID: "old", names.TENANT_ID: TENANT}, {}),
        ({names.CLIENT_ID: "new"}, {"AZURE_CLIENT_ID": ("old", "new")}),
        ({}, {"AZURE_CLIENT_ID": ("old", "")}),
        (
            {names.CLIENT_ID: "old", names.TENANT_ID: "other"},
            {"AZURE_TENANT_ID": (TENANT, "other")},
        ),
    ],
    ids=["same", "same tenant", "client", "removed", "tenant"],
)
def test_variables_are_compared_with_the_annotations(
    annotations: dict[str, str], differs: dict[str, tuple[str, str]]
) -> None:
    pod = read_pod(_pod(_env(*INJECTED)))
    assert pod is not None
    assert find_differences(pod.variables, annotations, TENANT) == differs


def test_status_warns_about_each_pod() -> None:
    pod = {
        "namespace": "n",
        "name": "p",
        "service_account": "a",
        "differs": {"AZURE_CLIENT_ID": {}},
    }
    assert pod_limits.outdated_warnings({"outdated_pods": [pod]}) == [
        "pod n/p differs from its ServiceAccount a (AZURE_CLIENT_ID): create the pod again"
    ]
    assert pod_limits.outdated_warnings({}) == []
