"""Upgrade from the reference's release to ours and rollback: immutable fields stay, no object blocks it."""

import pytest

from tests.charts import reference
from tests.charts.rendering import OF_THE_REFERENCE, RELEASE, Helm, Object, Values, container, find

pytestmark = pytest.mark.kubernetes


def _key(one: Object) -> tuple[str, str, str, str]:
    meta = one["metadata"]
    return one["apiVersion"], one["kind"], meta["name"], meta.get("namespace", "")


def test_each_object_of_the_reference_exists_under_the_same_name(helm: Helm) -> None:
    ours = {_key(one) for one in helm.render()}
    assert not {_key(one) for one in reference.OBJECTS} - ours


def test_additional_objects_are_deleted_by_a_rollback(helm: Helm) -> None:
    """Helm deletes objects that the next chart lacks; the reference must not need any of them."""
    theirs = {_key(one) for one in reference.OBJECTS}
    more = {
        (one["kind"], one["metadata"]["name"]) for one in helm.render() if _key(one) not in theirs
    }
    assert more == {
        ("NetworkPolicy", "azure-wi-webhook-controller-manager"),
        ("Pod", f"{RELEASE}-test"),  # a hook is not part of a release
    }


@pytest.mark.parametrize("kind", ["RoleBinding", "ClusterRoleBinding"])
def test_a_binding_keeps_its_role(helm: Helm, kind: str) -> None:
    """The API server refuses another roleRef."""
    theirs, ours = find(reference.OBJECTS, kind), find(helm.render(), kind)
    assert ours["roleRef"] == theirs["roleRef"]
    assert ours["subjects"] == theirs["subjects"]


def test_the_deployment_keeps_its_selector(helm: Helm) -> None:
    """The API server refuses another selector. It contains the name of the reference's chart."""
    ours, theirs = (find(each, "Deployment")["spec"] for each in (helm.render(), reference.OBJECTS))
    assert ours["selector"] == theirs["selector"]
    assert ours["template"]["metadata"]["labels"] == theirs["selector"]["matchLabels"]


def test_name_override_of_the_reference_is_preserved(helm: Helm) -> None:
    for given, name in (
        ("wi-" + "x" * 80, "wi-" + "x" * 60),
        ("my-", "my"),
        ("x" * 62 + "..y", "x" * 62),
    ):
        spec = find(helm.render({"nameOverride": given}), "Deployment")["spec"]
        labels = spec["selector"]["matchLabels"]
        assert labels["app"] == labels["chart"] == name


def test_pod_labels_of_the_user_do_not_break_the_selector(helm: Helm) -> None:
    spec = find(helm.render({"podLabels": {"app": "mine", "team": "x"}}), "Deployment")["spec"]
    assert spec["template"]["metadata"]["labels"] == {**reference.SELECTOR, "team": "x"}


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget"])
def test_service_and_budget_select_old_and_new_pods(helm: Helm, kind: str) -> None:
    found = find(helm.render(), kind)["spec"]["selector"]
    assert found == find(reference.OBJECTS, kind)["spec"]["selector"]


def test_secret_keeps_its_type_and_data(helm: Helm) -> None:
    """A Secret's type cannot change; Helm does not change data that no manifest contains."""
    assert not {"type", "data", "stringData"} & find(helm.render(), "Secret").keys()


def test_upgrade_keeps_the_ca_bundle(helm: Helm) -> None:
    (entry,) = find(helm.render(), "MutatingWebhookConfiguration")["webhooks"]
    assert entry["clientConfig"] == reference.WEBHOOK["clientConfig"]  # and no caBundle


def test_webhook_configuration_selects_the_same_pods(helm: Helm) -> None:
    (entry,) = find(helm.render(), "MutatingWebhookConfiguration")["webhooks"]
    # Ours exempts namespaces, and declares side effects because of the Event after a refusal.
    for member in reference.WEBHOOK.keys() - {"rules", "namespaceSelector", "sideEffects"}:
        assert entry[member] == reference.WEBHOOK[member], member
    (rule,) = reference.WEBHOOK["rules"]
    assert entry["rules"] == [{**rule, "scope": "*"}]
    assert entry["timeoutSeconds"] == 10  # the API server's default


def test_container_has_the_references_ports_flags_and_probes(helm: Helm) -> None:
    ours, theirs = container(helm.render()), reference.CONTAINER
    for member in ("name", "ports", "envFrom", "env", "args"):
        assert ours[member] == theirs[member], member
    assert ours["command"] == ["podpass", "webhook"]
    for probe in ("livenessProbe", "readinessProbe"):
        # Our probe starts earlier, because the process is ready earlier.
        later = {"initialDelaySeconds"} if probe == "readinessProbe" else set()
        for member in theirs[probe].keys() - later:
            assert ours[probe][member] == theirs[probe][member], (probe, member)


def test_all_values_of_the_reference_have_the_same_effect(helm: Helm) -> None:
    found = helm.render(OF_THE_REFERENCE)
    given = OF_THE_REFERENCE
    spec = find(found, "Deployment")["spec"]
    pod, only = spec["template"]["spec"], container(found)
    assert (spec["replicas"], spec["revisionHistoryLimit"]) == (3, 3)
    for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert pod[key] == given[key], key
    assert pod["topologySpreadConstraints"] == given["topologySpreadConstraints"]
    assert only["resources"]["limits"] == given["resources"]["limits"]
    assert only["imagePullPolicy"] == "Always"
    assert find(found, "ServiceAccount")["imagePullSecrets"] == [{"name": "registry"}]
    assert only["args"] == [
        "--log-level=debug",
        "--metrics-addr=:8096",
        "--metrics-backend=prometheus",
        "--custom-token-endpoint-annotation-suffix=identity-binding",
        "--custom-token-endpoint-audience=api://AKSIdentityBinding",
    ]
    assert only["ports"][0] == {"name": "metrics", "containerPort": 8096, "protocol": "TCP"}
    assert find(found, "ConfigMap")["data"] == {
        "AZURE_ENVIRONMENT": "AzureUSGovernmentCloud",
        "AZURE_TENANT_ID": given["azureTenantID"],
        "AZURE_KUBERNETES_CA_CONFIGMAP_NAME": "kube-root-ca.crt",
        "AZURE_KUBERNETES_SNI_NAME": "abc.ests.aks",
        "AZURE_KUBERNETES_TOKEN_PROXY": "https://kubernetes.default.svc",
    }
    assert given["extraEnv"][0] in only["env"]
    assert given["extraVolumes"][0] in pod["volumes"]
    assert given["extraVolumeMounts"][0] in only["volumeMounts"]
    template = spec["template"]["metadata"]
    assert template["labels"]["team"] == "platform"
    assert template["annotations"]["prometheus.io/scrape"] == "true"
    budget = find(found, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert "minAvailable" not in budget  # 0 is not rendered there either
    registration = find(found, "MutatingWebhookConfiguration")
    assert registration["metadata"]["annotations"] == {"admissions.enforcer/disabled": "true"}
    selector = registration["webhooks"][0]["namespaceSelector"]
    assert selector["matchLabels"] == {"team": "shop"}
    assert {"key": "control-plane", "operator": "DoesNotExist"} in selector["matchExpressions"]


def test_reused_values_are_refused_with_a_hint(helm: Helm) -> None:
    """--reuse-values hides the new chart's defaults, and the reference's image does not have our command."""
    theirs = {"image": {"repository": "mirror.example.com/oss/azure/workload-identity/webhook"}}
    ours = ("certManager", "events", "advice", "networkPolicy", "serviceMonitor", "helmTest")
    hidden = dict.fromkeys(ours)
    given: list[Values] = [theirs, hidden, {**theirs, **hidden}, *({name: None} for name in ours)]
    for values in given:
        assert "--reset-then-reuse-values" in helm.refusal(values)


def test_memory_limit_of_the_reference_is_refused(helm: Helm) -> None:
    said = helm.refusal({"resources": {"limits": {"memory": "30Mi"}}})
    assert "resources.limits.memory is 30Mi: podpass needs 96Mi at least" in said
    for enough in ("96Mi", "1Gi", "200M"):
        helm.render({"resources": {"limits": {"memory": enough}}})
