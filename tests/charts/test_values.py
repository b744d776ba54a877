"""Values: what is wrong is named before anything is installed."""

import warnings

import pytest

from tests.charts.rendering import NEWEST, Helm, Values, container, find

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import warns of its own dependencies
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


@pytest.mark.parametrize("name", ["123", "1abc", "1e3", "true", "my.rel", "x" * 53])
def test_a_release_of_any_name_has_objects_that_the_api_server_takes(helm: Helm, name: str) -> None:
    """A label that YAML reads as a number or a truth is refused there."""
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
def test_an_image_may_have_every_name_that_images_have(helm: Helm, name: str) -> None:
    assert container(helm.render({"image": {"repository": name}}))["image"].startswith(f"{name}:")


def test_an_annotation_of_the_user_does_not_stand_beside_ours(helm: Helm) -> None:
    """Of one key twice, some readers take the first and others the last."""
    said = helm.template({"podAnnotations": {"podpass/config": "mine", "a": "b"}}).stdout
    assert said.count("podpass/config:") == 1
    given = {"podAnnotations": {"a": "b"}}
    assert find(helm.render(given), "Deployment") == find(
        helm.render({"podAnnotations": {"podpass/config": "mine", "a": "b"}}), "Deployment"
    )
