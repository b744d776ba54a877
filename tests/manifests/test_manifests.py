"""`podpass manifests`: what it prints can be applied as it is, over the reference's static manifest too."""

import json
import warnings
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from podpass import names
from podpass.account.annotations import read_wish
from podpass.account.model import Account, read_pod
from podpass.admission.mutate import mutate
from podpass.manifests import Values, policy, webhook
from podpass.manifests.policy import VOLUME
from podpass.manifests.values import UnknownValue, WrongValue
from podpass.settings import WebhookSettings
from tests.local.instances import Podpass

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import warns of its own dependencies
    import kubernetes_validate

TENANT = "11111111-2222-4333-8444-555555555555"
OLDEST, NEWEST = "1.25", "1.37"
FOREIGN = {"Issuer", "Certificate"}
CHART = Path(__file__).parents[2] / "charts/podpass"


def _written(*sets: str, namespace: str = "azure-workload-identity-system") -> list[dict[str, Any]]:
    return webhook(Values.from_sets(sets, tenant_id=TENANT, namespace=namespace))


def _find(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [one for one in objects if one["kind"] == kind]
    return found


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    "sets", [(), ("certManager.enabled=true", "advice.enabled=true", "hostNetwork=true")]
)
def test_every_object_fits_kubernetes_schemas(sets: tuple[str, ...], version: str) -> None:
    found = _written(*sets)
    assert len(found) == (14 if sets else 13)
    for one in found:
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, version, strict=True)


def test_the_policies_fit_the_schemas_of_the_first_version_that_has_them() -> None:
    for one in policy(Values(tenant_id=TENANT)):
        kubernetes_validate.validate(one, "1.36", strict=True)


def test_pods_are_selected_as_the_reference_s_static_manifest_does() -> None:
    """A Deployment keeps its selector, so with another one nothing could be applied over it."""
    found, selector = _written(), {"azure-workload-identity.io/system": "true"}
    spec = _find(found, "Deployment")["spec"]
    assert spec["selector"] == {"matchLabels": selector}
    assert spec["template"]["metadata"]["labels"] == selector
    assert _find(found, "Service")["spec"]["selector"] == selector
    assert all(selector.items() <= one["metadata"]["labels"].items() for one in found)


def test_they_can_be_applied_in_their_order() -> None:
    kinds = [one["kind"] for one in _written()]
    assert kinds[0] == "Namespace"
    assert kinds.index("ConfigMap") < kinds.index("Deployment")
    assert kinds.index("Secret") < kinds.index("Deployment")
    assert kinds[-1] == "MutatingWebhookConfiguration"


def _levels(found: list[dict[str, Any]]) -> dict[str, str]:
    labels = _find(found, "Namespace")["metadata"]["labels"]
    return {key: value for key, value in labels.items() if key.startswith("pod-security")}


def test_the_namespace_admits_no_pod_that_could_harm_a_node() -> None:
    prefix = "pod-security.kubernetes.io/"
    assert _levels(_written()) == {
        f"{prefix}{mode}{part}": value
        for mode in ("enforce", "audit", "warn")
        for part, value in (("", "restricted"), ("-version", "latest"))
    }
    assert set(_levels(_written("hostNetwork=true")).values()) == {"privileged", "latest"}


@pytest.mark.parametrize("namespace", ["default", "kube-system"])
def test_a_namespace_that_kubernetes_made_keeps_its_labels(namespace: str) -> None:
    """`restricted` on kube-system would keep the cluster's own pods from starting."""
    assert "Namespace" not in [one["kind"] for one in _written(namespace=namespace)]


def test_everything_else_is_in_the_namespace_or_the_cluster_s() -> None:
    whole = {"Namespace", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration"}
    for one in _written(namespace="other"):
        there = one["metadata"].get("namespace")
        assert there == (None if one["kind"] in whole else "other"), one["kind"]


def test_it_never_blocks_its_own_namespace() -> None:
    for entry in _find(
        _written("advice.enabled=true", namespace="other"), "MutatingWebhookConfiguration"
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
    ("text", "error", "said"),
    [
        ("image.tag=1", UnknownValue, "image.tag: no such value"),
        ("replicaCount", WrongValue, "want KEY=VALUE"),
        ("replicaCount=two", WrongValue, "want a number from 0 to 2147483647"),
        ("replicaCount=2147483648", WrongValue, "want a number from 0 to 2147483647"),
        ("replicaCount=-1", WrongValue, "want a number from 0"),
        ("events.enabled=yes", WrongValue, "want true or false"),
        ("failurePolicy=fail", WrongValue, "want Fail, Ignore"),
        ("logLevel=verbose", WrongValue, "want nothing, info, debug, trace, all"),
        ("timeoutSeconds=99", WrongValue, "timeoutSeconds=99: want a number from 1 to 30"),
        ("timeoutSeconds=0", WrongValue, "want a number from 1 to 30"),
        ("advice.timeoutSeconds=31", WrongValue, "want a number from 1 to 30"),
        ("replicaCount=" + "9" * 5000, WrongValue, "want a number"),
        ("image.repository=", WrongValue, "want a name of an image"),
        ("image.release=a b", WrongValue, "want a tag"),
        ("image.digest=sha256:12", WrongValue, "64 hexadecimal digits"),
        ("customTokenEndpoint.annotationSuffix=-a", WrongValue, "the end of an annotation's name"),
        ("customTokenEndpoint.annotationSuffix=" + "a" * 60, WrongValue, "59 at most"),
        ("customTokenEndpoint.azureKubernetesTokenProxy=http://a", WrongValue, "https:// URL"),
        ("exemptNamespaces=kube-system,Kube_System", WrongValue, "names of namespaces"),
    ],
)
def test_a_wrong_value_is_refused_by_name(text: str, error: type[Any], said: str) -> None:
    with pytest.raises(error) as refused:
        Values.from_sets([text], tenant_id=TENANT)
    assert said in refused.value.message


@pytest.mark.parametrize("replicas", [0, 1000000000, 2147483647])
def test_a_count_may_be_as_large_as_kubernetes_counts(replicas: int) -> None:
    assert Values.from_sets([f"replicaCount={replicas}"], tenant_id=TENANT).replicas == replicas


def _of_chart(key: str) -> dict[str, Any]:
    """Find what the chart's schema says of a value; of a list, what it says of each part."""
    found: Any = json.loads((CHART / "values.schema.json").read_text())
    for part in key.split("."):
        found = found["properties"][part]
    rule: dict[str, Any] = found.get("items", found)
    return rule


@pytest.mark.parametrize(
    "declared", [f for f in fields(Values) if f.metadata], ids=lambda f: f.name
)
def test_a_value_has_the_rule_that_the_chart_s_schema_has(declared: Field[Any]) -> None:
    theirs, rule = _of_chart(declared.metadata["key"]), declared.metadata["rule"]
    least, most = rule.between or (None, None)
    assert list(rule.among) == theirs.get("enum", [])
    assert (least, most) == (theirs.get("minimum"), theirs.get("maximum"))
    assert rule.pattern == theirs.get("pattern", "")
    assert rule.longest == theirs.get("maxLength")
    assert not rule.pattern or rule.want
    assert rule.between or declared.type is not int


def test_a_misspelt_value_is_answered_with_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownValue) as refused:
        Values.from_sets(["failurePolcy=Fail"], tenant_id=TENANT)
    assert refused.value.hint.startswith("did you mean failurePolicy?")
    assert refused.value.facts == {"key": "failurePolcy"}


# ------------------------------------------------------------------------------------ command line


def test_it_prints_documents_that_kubectl_reads(podpass: Podpass) -> None:
    done = podpass("manifests", "--tenant-id", TENANT, "--set", "image.repository=r.example.com/p")
    assert (done.returncode, done.stderr) == (0, "")
    found = list(yaml.safe_load_all(done.stdout))
    assert found == _written("image.repository=r.example.com/p")
    listed = json.loads(podpass("manifests", "--tenant-id", TENANT, "-o", "json").stdout)
    assert (listed["apiVersion"], listed["kind"]) == ("v1", "List")
    assert listed["items"] == _written()


def test_the_policy_is_printed_without_anything_of_the_webhook(podpass: Podpass) -> None:
    done = podpass("manifests", "--mode", "policy", "--tenant-id", TENANT)
    assert list(yaml.safe_load_all(done.stdout)) == policy(Values(tenant_id=TENANT))
    refused = podpass(
        "manifests", "--mode", "policy", "--tenant-id", TENANT, "--set", "replicaCount=3"
    )
    assert refused.returncode == 2
    assert "replicaCount: means nothing to a policy" in refused.stderr


@pytest.mark.parametrize("namespace", ["Upper", "a.b", "-a", "a" * 64, ""])
def test_a_name_that_no_namespace_has_is_refused(podpass: Podpass, namespace: str) -> None:
    done = podpass("manifests", "--tenant-id", TENANT, "--namespace", namespace)
    assert done.returncode == 2
    assert "is no name of a namespace" in done.stderr


def test_the_tenant_is_asked_for(podpass: Podpass) -> None:
    assert "--tenant-id" in podpass("manifests").stderr
    done = podpass("manifests", env={"AZURE_TENANT_ID": TENANT})
    assert f"AZURE_TENANT_ID: {TENANT}" in done.stdout


def test_the_webhook_leaves_what_the_policy_did() -> None:
    """Where both are installed the API server asks the webhook second."""
    mount = {"name": VOLUME, "mountPath": names.MOUNT_PATH, "readOnly": True}
    told = {
        names.ENV_TENANT_ID: TENANT,
        names.ENV_TOKEN_FILE: f"{names.MOUNT_PATH}/{names.TOKEN_PATH}",
        names.ENV_AUTHORITY_HOST: "https://login.microsoftonline.com/",
    }
    env = [{"name": name, "value": value} for name, value in told.items()]
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
    pod = read_pod(raw, "default")
    account = Account(namespace="default", name=pod.account, annotations={})
    wish = read_wish(pod, account, tenant_id=TENANT, custom_endpoint_annotation=None)
    assert not mutate(pod, wish, WebhookSettings(tenant_id=TENANT)).operations


def test_help_names_every_value_that_may_be_set(podpass: Podpass) -> None:
    told = podpass("manifests", "--help").stdout.replace(",", " ").split()
    assert {"image.repository", "exemptNamespaces"} <= set(Values.settable())
    assert not [key for key in Values.settable() if key not in told]
    assert told.count("failurePolicy") == 2, "a policy has fewer, which are told apart"
