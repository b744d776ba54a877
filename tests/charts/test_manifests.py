"""The data of `podpass manifests` was made from this chart, and gives the objects that Helm renders."""

from typing import Any

import pytest
import yaml

from podpass.manifests import ManifestValues, build_webhook_objects
from podpass.manifests.values import SELECTOR
from scripts import render_charts
from tests.charts.rendering import NAMESPACE, RELEASE, TENANT, Helm, Object

pytestmark = pytest.mark.kubernetes

SETS: dict[str, list[str]] = {
    "defaults": [],
    "cert-manager": ["certManager.enabled=true", "events.enabled=false"],
    "all": [
        "azureEnvironment=AzureChinaCloud",
        "replicaCount=2147483647",
        "image.repository=registry.example.com/podpass",
        "image.pullPolicy=Always",
        "image.release=1.2.3",
        "logLevel=debug",
        "priorityClassName=",
        "customTokenEndpoint.annotationSuffix=identity-binding",
        "customTokenEndpoint.audience=api://AKSIdentityBinding",
        "customTokenEndpoint.azureKubernetesTokenProxy=https://kubernetes.default.svc/?a=<b>&c=é",
        "customTokenEndpoint.azureKubernetesSniName=abc.ests.aks",
        "customTokenEndpoint.azureKubernetesCAConfigMapName=kube-root-ca.crt",
        "audience=api://AzureADTokenExchangeChina",
        "failurePolicy=Ignore",
        "timeoutSeconds=5",
        "tlsMinVersion=1.2",
        "proxyImage=registry.example.com/proxy:1",
        "proxyInitImage=registry.example.com/proxy-init:1",
        "proxyMode=env",
        "proxyInitPrivileged=false",
        "legacyTokenPath=true",
        "exemptNamespaces=kube-system,gatekeeper-system",
        "advice.enabled=true",
        "advice.timeoutSeconds=3",
        "networkPolicy.enabled=false",
        "hostNetwork=true",
    ],
    "a digest": ["image.digest=sha256:" + "0" * 64],
}


def _tree(sets: list[str]) -> dict[str, Any]:
    """Convert KEY=VALUE texts to the tree of a values file."""
    tree: dict[str, Any] = {}
    for text in sets:
        key, _, value = text.partition("=")
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        if key == "exemptNamespaces":
            place[last] = value.split(",")
        elif key in ("tlsMinVersion", "image.release"):
            place[last] = value
        else:
            place[last] = yaml.safe_load(value) if value else ""
    return tree


def _plain(tree: Any) -> Any:
    """Remove the labels that differ between a release and the static manifest."""
    if isinstance(tree, dict):
        gone = (
            {"app", "chart", "release", "helm.sh/chart"}
            if SELECTOR.items() <= tree.items()
            else set()
        )
        return {key: _plain(value) for key, value in tree.items() if key not in gone}
    if isinstance(tree, list):
        return [_plain(one) for one in tree]
    return tree


def _keyed(objects: list[Object]) -> dict[tuple[str, str], Object]:
    return {(one["kind"], one["metadata"]["name"]): _plain(one) for one in objects}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("namespace", [NAMESPACE, "other"])
def test_manifests_command_and_chart_create_the_same_objects(
    helm: Helm, name: str, namespace: str
) -> None:
    sets = ("image.repository=podpass", *SETS[name])
    values = ManifestValues.from_sets(sets, tenant_id=TENANT, namespace=namespace)
    ours = _keyed(build_webhook_objects(values))
    charts = _keyed(helm.render(_tree(SETS[name]), namespace=namespace))
    assert ours.pop(("Namespace", namespace))  # Helm or its caller creates it
    assert charts.pop(("Pod", f"{RELEASE}-test"))  # a hook
    assert ours.keys() == charts.keys()
    for key, one in ours.items():
        assert one == charts[key], key


def test_data_of_the_command_is_what_the_script_makes_of_the_chart(helm: Helm) -> None:
    assert render_charts.build(helm.binary) == render_charts.TARGET.read_text()


def test_every_manifest_value_is_in_a_set_of_values_that_a_test_compares() -> None:
    tried = {text.partition("=")[0] for sets in SETS.values() for text in sets}
    assert set(ManifestValues.list_keys()) - tried == {"azureTenantID"}
