"""Invalid values are refused by name before the installation."""

import warnings

import pytest

from tests.charts.rendering import NEWEST, Helm, Values, container, find

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import emits deprecation warnings
    import kubernetes_validate

pytestmark = pytest.mark.kubernetes


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
        (
            {"podDisruptionBudget": {"maxUnavailable": "150%"}},
            "/podDisruptionBudget/maxUnavailable",
            "pattern",
        ),
        ({"replicaCount": 3000000000}, "/replicaCount", "maximum"),
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
        ({"image": {"repository": "podpass:1"}}, "/image/repository", "pattern"),
        ({"priorityClassName": "High"}, "/priorityClassName", "pattern"),
        ({"certSecretName": "my secret"}, "/certSecretName", "pattern"),
        ({"helmTest": {"namespace": "Shop"}}, "/helmTest/namespace", "pattern"),
        ({"nameOverride": "my name"}, "/nameOverride", "pattern"),
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
def test_error_names_a_webhook_value_with_an_unknown_key_or_a_wrong_type(
    helm: Helm, values: Values, where: str, said: str
) -> None:
    refusal = helm.refusal(values)
    assert f"at '{where}'" in refusal
    assert said in refusal


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"azureTenantID": ""}, "azureTenantID is required"),
        ({"azureTenantID": "foo"}, "azureTenantID"),
        ({"azureTenantID": "common"}, "azureTenantID"),
        ({"image": {"repository": ""}}, "image.repository is required, because there is no public"),
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
        ({"proxyMode": "env"}, "proxyMode=env needs proxyImage"),
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
def test_inconsistent_combination_of_values_is_refused(
    helm: Helm, values: Values, said: str
) -> None:
    assert said in helm.refusal(values)


@pytest.mark.parametrize("name", ["123", "1abc", "1e3", "true", "my.rel", "x" * 53])
def test_objects_of_a_release_with_any_name_are_valid(helm: Helm, name: str) -> None:
    """The API server refuses labels that YAML parses as a number or a boolean."""
    for one in helm.render({"nameOverride": "7e1"}, name=name):
        kubernetes_validate.validate(one, NEWEST, strict=True)
        assert one["metadata"]["labels"]["release"] == name
        assert one["metadata"]["labels"]["app"] == "7e1"


@pytest.mark.parametrize(
    "name",
    [
        "p",
        "REGISTRY/podpass",
        "r.example.com:5000/a/b__c-d.e",
        "[fd00::1]:5000/p",
        "localhost/p--q",
    ],
)
def test_every_valid_image_name_is_accepted(helm: Helm, name: str) -> None:
    assert container(helm.render({"image": {"repository": name}}))["image"].startswith(f"{name}:")


def test_user_annotation_that_duplicates_a_chart_annotation_is_rendered_once(helm: Helm) -> None:
    """Of a duplicate key, some parsers use the first value and others the last."""
    said = helm.template({"podAnnotations": {"podpass/config": "mine", "a": "b"}}).stdout
    assert said.count("podpass/config:") == 1
    given = {"podAnnotations": {"a": "b"}}
    assert find(helm.render(given), "Deployment") == find(
        helm.render({"podAnnotations": {"podpass/config": "mine", "a": "b"}}), "Deployment"
    )
