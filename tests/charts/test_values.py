"""Values: what is wrong is named, and the page of the chart says what there is."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

import podpass
from charts.rendering import CHART, SETS, Helm, Values

pytestmark = pytest.mark.kubernetes
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
# Helm's own, for charts that another one depends on.
OF_HELM = {"global", "enabled"}


@pytest.mark.parametrize(
    ("values", "where", "said"),
    [
        ({"failurePolcy": "Fail"}, "", "'failurePolcy' not allowed"),
        ({"image": {"tag": "1"}}, "/image", "'tag' not allowed"),
        ({"service": {"ports": 1}}, "/service", "'ports' not allowed"),
        ({"podDisruptionBudget": {"min": 1}}, "/podDisruptionBudget", "'min' not allowed"),
        ({"customTokenEndpoint": {"suffix": "x"}}, "/customTokenEndpoint", "'suffix' not allowed"),
        ({"certManager": {"enable": True}}, "/certManager", "'enable' not allowed"),
        ({"networkPolicy": {"from": []}}, "/networkPolicy", "'from' not allowed"),
        ({"serviceMonitor": {"label": {}}}, "/serviceMonitor", "'label' not allowed"),
        ({"advice": {"on": True}}, "/advice", "'on' not allowed"),
        ({"events": {"on": True}}, "/events", "'on' not allowed"),
        ({"helmTest": {"image": "x"}}, "/helmTest", "'image' not allowed"),
        ({"resources": {"limit": {}}}, "/resources", "'limit' not allowed"),
        ({"affinity": {"podAfinity": {}}}, "/affinity", "'podAfinity' not allowed"),
        ({"extraEnv": [{"name": "A", "vale": "b"}]}, "/extraEnv/0", "'vale' not allowed"),
        ({"replicaCount": "two"}, "/replicaCount", "want integer"),
        ({"replicaCount": -1}, "/replicaCount", "minimum"),
        ({"tlsMinVersion": 1.3}, "/tlsMinVersion", "must be one of"),
        ({"timeoutSeconds": 31}, "/timeoutSeconds", "maximum"),
        ({"timeoutSeconds": 0}, "/timeoutSeconds", "minimum"),
        ({"failurePolicy": "fail"}, "/failurePolicy", "must be one of"),
        ({"azureEnvironment": "AzureMoonCloud"}, "/azureEnvironment", "must be one of"),
        ({"logLevel": "verbose"}, "/logLevel", "must be one of"),
        ({"service": {"targetPort": 8443}}, "/service/targetPort", "must be one of"),
        ({"metricsAddr": "8095"}, "/metricsAddr", "pattern"),
        ({"image": {"release": "a b"}}, "/image/release", "pattern"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest", "pattern"),
        ({"podLabels": {"a": 1}}, "/podLabels/a", "want string"),
        ({"exemptNamespaces": ["Kube_System"]}, "/exemptNamespaces/0", "pattern"),
        ({"extraArgs": ["log-level=info"]}, "/extraArgs/0", "pattern"),
        ({"runAsUser": 0}, "/runAsUser", "minimum"),
        ({"resources": {"limits": {"memory": "lots"}}}, "/resources/limits/memory", "pattern"),
        ({"caBundle": "AAAA"}, "/caBundle", "pattern"),
        (
            {"mutatingWebhookNamespaceSelector": {"matchLabel": {}}},
            "/mutatingWebhookNamespaceSelector",
            "'matchLabel' not allowed",
        ),
        (
            {"customTokenEndpoint": {"azureKubernetesTokenProxy": "http://x"}},
            "/customTokenEndpoint/azureKubernetesTokenProxy",
            "pattern",
        ),
    ],
)
def test_a_wrong_key_or_type_is_refused_by_name(
    helm: Helm, values: Values, where: str, said: str
) -> None:
    refusal = helm.refusal(values)
    assert f"at '{where}'" in refusal
    assert said in refusal


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"azureTenantID": ""}, "azureTenantID is required"),
        (
            {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}},
            "podDisruptionBudget.minAvailable and .maxUnavailable exclude each other",
        ),
        ({"caBundle": "-----BEGIN CERTIFICATE-----"}, "need disableCertRotation=true"),
        ({"certSecretName": "mine"}, "need disableCertRotation=true"),
        (
            {
                "certManager": {"enabled": True},
                "certSecretName": "mine",
                "disableCertRotation": True,
            },
            "certManager.enabled excludes certSecretName",
        ),
        ({"customTokenEndpoint": {"audience": "api://x"}}, "annotationSuffix and .audience need"),
        ({"customTokenEndpoint": {"annotationSuffix": "x"}}, "annotationSuffix and .audience need"),
        (
            {
                "customTokenEndpoint": {
                    "azureKubernetesCaData": "x",
                    "azureKubernetesCAConfigMapName": "other",
                }
            },
            "exclude each other",
        ),
        (
            {"customTokenEndpoint": {"azureKubernetesCACTBLabelSelector": "{}"}},
            "needs azureKubernetesCACTBSignerName",
        ),
    ],
)
def test_a_combination_that_cannot_work_is_refused_before_anything_is_installed(
    helm: Helm, values: Values, said: str
) -> None:
    assert said in helm.refusal(values)


@pytest.mark.parametrize("name", SETS)
def test_helm_finds_nothing_to_complain_of(helm: Helm, name: str) -> None:
    done = helm("lint", "--strict", str(CHART), values=SETS[name])
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout + done.stderr


def test_another_chart_can_depend_on_it_under_a_condition(helm: Helm) -> None:
    assert helm.render({"global": {"registry": "x"}, "enabled": True}) == helm.render()


def _keys(tree: dict[str, Any], of: str = "") -> Iterator[str]:
    for key, value in tree.items():
        yield of + key
        if isinstance(value, dict):
            yield from _keys(value, f"{of}{key}.")


def _known(schema: dict[str, Any], of: str = "") -> Iterator[str]:
    for key, one in schema.get("properties", {}).items():
        yield of + key
        if one.get("additionalProperties") is False:
            yield from _known(one, f"{of}{key}.")


def test_every_value_that_the_schema_knows_has_its_default_and_its_line_on_the_page() -> None:
    known = set(_known(SCHEMA)) - OF_HELM
    # Kubernetes' own, which the page does not repeat.
    below = ("affinity.", "certManager.issuerRef.", "mutatingWebhookNamespaceSelector.")
    known = {key for key in known if not key.startswith(below)} - {"resources.claims"}
    assert len(known) > 70
    assert not known - set(_keys(DEFAULTS))
    page = (CHART / "README.md").read_text()
    leaves = {key for key in known if not any(other.startswith(f"{key}.") for other in known)}
    assert not [key for key in sorted(leaves) if f"| `{key}` |" not in page]


def test_every_default_is_known_to_the_schema() -> None:
    below = ("nodeSelector.", "resources.limits.", "resources.requests.")
    keys = {key for key in _keys(DEFAULTS) if not key.startswith(below)}
    assert not keys - set(_known(SCHEMA))


def test_no_object_of_the_schema_takes_any_key() -> None:
    """A misspelt key that is taken in silence is a setting that someone believes to be set."""
    free = {"nodeSelector", "podLabels", "podAnnotations", "mutatingWebhookAnnotations", "global"}
    for name, one in SCHEMA["properties"].items():
        if one.get("type") == "object" and name not in free:
            assert one["additionalProperties"] is False, name


def test_chart_image_and_program_are_of_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    versions = {chart["version"], chart["appVersion"], DEFAULTS["image"]["release"]}
    assert versions == {podpass.__version__}
