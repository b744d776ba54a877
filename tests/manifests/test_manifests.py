"""`podpass manifests`: its output can be applied unchanged, also over the reference's manifest."""

import json
import warnings
from typing import Any

import pytest
import yaml

from podpass import names
from podpass.account.annotations import parse_identity_config
from podpass.account.model import ServiceAccount, parse_pod
from podpass.admission.mutate import mutate
from podpass.manifests import ManifestValues, build_policy_objects, build_webhook_objects
from podpass.manifests.policy import VOLUME
from podpass.manifests.values import UnknownValue, WrongValue
from podpass.settings import WebhookSettings
from tests.lab.instance.instances import Podpass

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import emits warnings about its dependencies
    import kubernetes_validate

TENANT = "11111111-2222-4333-8444-555555555555"
OLDEST, NEWEST = "1.25", "1.37"
FOREIGN = {"Issuer", "Certificate"}
IMAGE = "image.repository=registry.example.com/podpass"


def _build(*sets: str, namespace: str = "azure-workload-identity-system") -> list[dict[str, Any]]:
    return build_webhook_objects(
        ManifestValues.from_sets((IMAGE, *sets), tenant_id=TENANT, namespace=namespace)
    )


def _find(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    "sets", [(), ("certManager.enabled=true", "advice.enabled=true", "hostNetwork=true")]
)
def test_every_object_matches_the_kubernetes_schemas(sets: tuple[str, ...], version: str) -> None:
    found = _build(*sets)
    assert len(found) == (14 if sets else 13)
    for one in found:
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, version, strict=True)


def test_policies_match_the_schemas_of_kubernetes_1_36() -> None:
    for one in build_policy_objects(ManifestValues.from_sets((), tenant_id=TENANT)):
        kubernetes_validate.validate(one, "1.36", strict=True)


def test_selector_equals_that_of_the_reference_manifest() -> None:
    """The selector of a Deployment is immutable, so another selector could not be applied over it."""
    found, selector = _build(), {"azure-workload-identity.io/system": "true"}
    spec = _find(found, "Deployment")["spec"]
    assert spec["selector"] == {"matchLabels": selector}
    assert spec["template"]["metadata"]["labels"] == selector
    assert _find(found, "Service")["spec"]["selector"] == selector
    assert all(selector.items() <= one["metadata"]["labels"].items() for one in found)


def test_objects_are_in_the_order_of_application() -> None:
    kinds = [one["kind"] for one in _build()]
    assert kinds[0] == "Namespace"
    assert kinds.index("ConfigMap") < kinds.index("Deployment")
    assert kinds.index("Secret") < kinds.index("Deployment")
    assert kinds[-1] == "MutatingWebhookConfiguration"


def _list_labels(found: list[dict[str, Any]]) -> dict[str, str]:
    labels = _find(found, "Namespace")["metadata"]["labels"]
    return {key: value for key, value in labels.items() if key.startswith("pod-security")}


def test_namespace_enforces_the_restricted_pod_security_standard() -> None:
    prefix = "pod-security.kubernetes.io/"
    assert _list_labels(_build()) == {
        f"{prefix}{mode}{part}": value
        for mode in ("enforce", "audit", "warn")
        for part, value in (("", "restricted"), ("-version", "latest"))
    }
    assert set(_list_labels(_build("hostNetwork=true")).values()) == {"privileged", "latest"}


@pytest.mark.parametrize("namespace", ["default", "kube-system"])
def test_system_namespace_keeps_its_labels(namespace: str) -> None:
    """`restricted` on kube-system would prevent the cluster's own pods from starting."""
    assert "Namespace" not in [one["kind"] for one in _build(namespace=namespace)]


def test_other_objects_are_namespaced_or_cluster_scoped() -> None:
    whole = {"Namespace", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration"}
    for one in _build(namespace="other"):
        namespace = one["metadata"].get("namespace")
        assert namespace == (None if one["kind"] in whole else "other"), one["kind"]


def test_webhook_ignores_its_own_namespace() -> None:
    for entry in _find(
        _build("advice.enabled=true", namespace="other"), "MutatingWebhookConfiguration"
    )["webhooks"]:
        assert entry["namespaceSelector"] == {
            "matchExpressions": [
                {
                    "key": "kubernetes.io/metadata.name",
                    "operator": "NotIn",
                    "values": ["other", "kube-system"],
                }
            ]
        }


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("image.tag=1", UnknownValue, "image.tag: unknown value"),
        ("replicaCount", WrongValue, "want KEY=VALUE"),
        ("replicaCount=two", WrongValue, "want a number from 0 to 2147483647"),
        ("replicaCount=2147483648", WrongValue, "want a number from 0 to 2147483647"),
        ("replicaCount=-1", WrongValue, "want a number from 0"),
        ("events.enabled=yes", WrongValue, "want true or false"),
        ("failurePolicy=fail", WrongValue, "want Fail, Ignore"),
        ("logLevel=verbose", WrongValue, "want empty, info, debug, trace, all"),
        ("timeoutSeconds=99", WrongValue, "timeoutSeconds=99: want a number from 1 to 30"),
        ("timeoutSeconds=0", WrongValue, "want a number from 1 to 30"),
        ("advice.timeoutSeconds=31", WrongValue, "want a number from 1 to 30"),
        ("replicaCount=" + "9" * 5000, WrongValue, "want a number"),
        ("image.repository=podpass:1", WrongValue, "want an image name"),
        ("azureTenantID=foo", WrongValue, "want the tenant's ID (a GUID) or one of its domains"),
        ("image.release=a b", WrongValue, "want a tag"),
        ("image.digest=sha256:12", WrongValue, "64 hexadecimal digits"),
        ("customTokenEndpoint.annotationSuffix=-a", WrongValue, "the end of an annotation's name"),
        ("customTokenEndpoint.annotationSuffix=" + "a" * 60, WrongValue, "59 at most"),
        ("customTokenEndpoint.azureKubernetesTokenProxy=http://a", WrongValue, "https:// URL"),
        ("exemptNamespaces=kube-system,Kube_System", WrongValue, "names of namespaces"),
        ("proxyMode=env", WrongValue, "needs proxyImage"),
        ("customTokenEndpoint.audience=api://x", WrongValue, "need each other"),
    ],
)
def test_error_names_an_invalid_manifest_value(text: str, error: type[Any], message: str) -> None:
    with pytest.raises(error) as refused:
        ManifestValues.from_sets([text], tenant_id=TENANT)
    assert message in refused.value.message


@pytest.mark.parametrize("replicas", [0, 1000000000, 2147483647])
def test_replica_count_has_the_range_of_kubernetes(replicas: int) -> None:
    values = ManifestValues.from_sets([f"replicaCount={replicas}"], tenant_id=TENANT)
    assert values["replicaCount"] == replicas


def test_misspelt_value_gets_a_suggestion() -> None:
    with pytest.raises(UnknownValue) as refused:
        ManifestValues.from_sets(["failurePolcy=Fail"], tenant_id=TENANT)
    assert refused.value.hint.startswith("did you mean failurePolicy?")
    assert refused.value.facts == {"key": "failurePolcy"}


# ------------------------------------------------------------------------------------ command line


def test_output_is_valid_yaml_for_kubectl(podpass: Podpass) -> None:
    done = podpass("manifests", "--tenant-id", TENANT, "--set", "image.repository=r.example.com/p")
    assert (done.returncode, done.stderr) == (0, "")
    found = list(yaml.safe_load_all(done.stdout))
    assert found == _build("image.repository=r.example.com/p")
    printed = podpass("manifests", "--tenant-id", TENANT, "--set", IMAGE, "-o", "json").stdout
    listed = json.loads(printed)
    assert (listed["apiVersion"], listed["kind"]) == ("v1", "List")
    assert listed["items"] == _build()


def test_policy_output_has_no_webhook_objects(podpass: Podpass) -> None:
    done = podpass("manifests", "--mode", "policy", "--tenant-id", TENANT)
    assert list(yaml.safe_load_all(done.stdout)) == build_policy_objects(
        ManifestValues.from_sets((), tenant_id=TENANT)
    )
    refused = podpass(
        "manifests", "--mode", "policy", "--tenant-id", TENANT, "--set", "replicaCount=3"
    )
    assert refused.returncode == 2
    assert "replicaCount: has no effect on a policy" in refused.stderr


@pytest.mark.parametrize("namespace", ["Upper", "a.b", "-a", "a" * 64, ""])
def test_invalid_namespace_name_is_refused(podpass: Podpass, namespace: str) -> None:
    done = podpass("manifests", "--tenant-id", TENANT, "--namespace", namespace)
    assert done.returncode == 2
    assert "is not a valid namespace name" in done.stderr


@pytest.mark.parametrize("tenant", ["foo", "common", "", "a b.example.com"])
@pytest.mark.parametrize("mode", ["webhook", "policy"])
def test_tenant_that_is_neither_guid_nor_domain_is_refused(
    podpass: Podpass, tenant: str, mode: str
) -> None:
    given = ["--mode", mode, *([] if mode == "policy" else ["--set", IMAGE])]
    for words in (
        ["--tenant-id", tenant],
        ["--tenant-id", TENANT, "--set", f"azureTenantID={tenant}"],
    ):
        done = podpass("manifests", *given, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert "a GUID" in done.stderr
    assert podpass("manifests", *given, "--tenant-id", "contoso.example.com").returncode == 0


def test_missing_image_is_refused_with_the_commands_that_build_it(podpass: Podpass) -> None:
    done = podpass("manifests", "--tenant-id", TENANT)
    assert (done.returncode, done.stdout) == (2, "")
    assert "image.repository is required, because there is no public image" in done.stderr
    assert "docker build -f deploy/Dockerfile" in done.stderr


def test_missing_tenant_is_refused(podpass: Podpass) -> None:
    assert "--tenant-id" in podpass("manifests").stderr
    done = podpass("manifests", "--set", IMAGE, env={"AZURE_TENANT_ID": TENANT})
    assert f"AZURE_TENANT_ID: {TENANT}" in done.stdout


def test_webhook_does_not_change_a_pod_of_the_policy() -> None:
    """If both are installed, the API server calls the webhook after the policy."""
    mount = {"name": VOLUME, "mountPath": names.MOUNT_PATH, "readOnly": True}
    values = {
        names.ENV_TENANT_ID: TENANT,
        names.ENV_TOKEN_FILE: f"{names.MOUNT_PATH}/{names.TOKEN_PATH}",
        names.ENV_AUTHORITY_HOST: "https://login.microsoftonline.com/",
    }
    env = [{"name": name, "value": value} for name, value in values.items()]
    token = {
        "path": names.TOKEN_PATH,
        "expirationSeconds": 3600,
        "audience": names.EXCHANGE_AUDIENCE,
    }
    volume = {"name": VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}
    raw: Any = {
        "metadata": {"name": "app", "namespace": "default"},
        "spec": {
            "containers": [{"name": "web", "env": env, "volumeMounts": [mount]}],
            "volumes": [volume],
        },
    }
    pod = parse_pod(raw, "default")
    account = ServiceAccount(namespace="default", name=pod.account, annotations={})
    config = parse_identity_config(pod, account, tenant_id=TENANT, custom_endpoint_annotation=None)
    assert not mutate(pod, config, WebhookSettings(tenant_id=TENANT)).operations


def test_help_names_every_value_that_may_be_set(podpass: Podpass) -> None:
    output = podpass("manifests", "--help").stdout.replace(",", " ").split()
    assert {"image.repository", "exemptNamespaces"} <= set(ManifestValues.list_keys())
    assert not [key for key in ManifestValues.list_keys() if key not in output]
    assert output.count("failurePolicy") == 2, "a policy has fewer values, listed separately"
