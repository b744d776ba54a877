"""`podpass cloud install` and the chart create the same objects."""

from pathlib import Path
from typing import Any

import pytest

from podpass.lab.install.objects import CloudValues, build_objects
from tests.charts.rendering import Helm

pytestmark = pytest.mark.kubernetes

CHART = Path(__file__).parents[2] / "charts" / "podpass-cloud"
_TENANT = "11111111-2222-4333-8444-555555555555"
_SEED = 'identities:\n  - name: "web"  # <é>\n'
_STORAGE_SEED = "storage_accounts: [{name: orders}, {name: '0invoices'}]\n"
CASES: dict[str, tuple[dict[str, Any], CloudValues]] = {
    "defaults": ({}, CloudValues(image="podpass:0.1.0")),
    "all": (
        {
            "image": {"repository": "registry.example:5000/podpass", "pullPolicy": "Never"},
            "seed": _SEED,
            "claim": "cloud-data",
            "tenantID": _TENANT,
            "propagationSeconds": 3600,
            "allNamespaces": True,
            "dnsUpstream": "10.96.0.10",
            "imagePullSecrets": [{"name": "registry"}],
        },
        CloudValues(
            image="registry.example:5000/podpass:0.1.0",
            pull_policy="Never",
            seed=_SEED,
            claim="cloud-data",
            tenant_id=_TENANT,
            propagation_seconds=3600,
            all_namespaces=True,
            dns_upstream="10.96.0.10",
            pull_secret="registry",
        ),
    ),
    "azurite": (
        {
            "image": {"pullPolicy": "IfNotPresent"},
            "seed": _STORAGE_SEED,
            "azuriteImage": "registry.example/azurite:1",
        },
        CloudValues(
            image="podpass:0.1.0",
            pull_policy="IfNotPresent",
            seed=_STORAGE_SEED,
            azurite_image="registry.example/azurite:1",
        ),
    ),
    "azurite-with-claim": (
        {"claim": "cloud-data", "azuriteImage": "registry.example/azurite:1"},
        CloudValues(
            image="podpass:0.1.0", claim="cloud-data", azurite_image="registry.example/azurite:1"
        ),
    ),
}


@pytest.fixture(scope="module")
def chart(helm: Helm) -> Helm:
    return Helm(helm.binary, CHART, "podpass-cloud", "podpass-cloud", required={})


@pytest.mark.parametrize("name", CASES)
def test_chart_renders_the_objects_of_the_command(chart: Helm, name: str) -> None:
    given, values = CASES[name]
    # Helm creates the namespace itself, without labels.
    wanted = [each for each in build_objects(values) if each["kind"] != "Namespace"]

    def key(item: dict[str, Any]) -> tuple[str, str]:
        return item["kind"], item["metadata"]["name"]

    assert sorted(chart.render(given), key=key) == sorted(wanted, key=key)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"tenantID": "x"}, "tenantID"),
        ({"imagee": {}}, "imagee"),
        ({"seed": {}}, "seed"),
        ({"imagePullSecrets": ["a"]}, "imagePullSecrets"),
    ],
    ids=["tenant", "unknown-key", "seed-not-a-text", "pull-secret-not-an-object"],
)
def test_error_names_an_invalid_value_of_the_cloud_chart(
    chart: Helm, given: dict[str, Any], named: str
) -> None:
    assert named in chart.refusal(given)


def test_chart_passes_lint(chart: Helm) -> None:
    chart.lint({})
