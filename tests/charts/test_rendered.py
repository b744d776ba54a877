"""The rendered objects are valid, have minimal permissions, and the webhook cannot block itself."""

import base64
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from podpass.settings import WebhookSettings
from tests.charts.authority import rendering as authority
from tests.charts.rendering import (
    CERT_MANAGER,
    CHART,
    FOREIGN,
    MOST,
    NAMESPACE,
    NEWEST,
    OLDEST,
    SETS,
    TENANT,
    Helm,
    Object,
    Values,
    container,
    find,
    read_objects,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import emits deprecation warnings
    import kubernetes_validate

pytestmark = pytest.mark.kubernetes
# The command line reads it before the settings.
NOT_SETTINGS = {"--version"}


@pytest.fixture(params=SETS)
def objects(helm: Helm, request: pytest.FixtureRequest) -> list[Object]:
    return helm.render(SETS[request.param])


def _pods(objects: list[Object]) -> list[dict[str, Any]]:
    specs = [one["spec"] for one in objects if one["kind"] == "Pod"]
    return [find(objects, "Deployment")["spec"]["template"]["spec"], *specs]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_matches_the_kubernetes_schemas(objects: list[Object], version: str) -> None:
    for one in objects:
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, version, strict=True)


def test_no_object_is_rendered_twice(objects: list[Object]) -> None:
    keys = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(keys) == len(set(keys)) >= 9


def test_pods_have_a_restricted_security_context(objects: list[Object]) -> None:
    """The pods fulfil the `restricted` profile and have a read-only root file system."""
    for pod in _pods(objects):
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        for each in pod["containers"]:
            context = each["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context.get("runAsUser", 65532) in (65532, MOST["runAsUser"])
        assert not [volume for volume in pod.get("volumes", []) if "hostPath" in volume]


def test_webhook_cannot_block_its_own_and_exempted_namespaces(objects: list[Object]) -> None:
    """A webhook that must approve its own pods could never start after an outage."""
    for entry in find(objects, "MutatingWebhookConfiguration")["webhooks"]:
        (rule,) = [
            rule
            for rule in entry["namespaceSelector"]["matchExpressions"]
            if rule["key"] == "kubernetes.io/metadata.name"
        ]
        assert rule["operator"] == "NotIn"
        assert rule["values"][0] == NAMESPACE


def test_kube_system_is_exempted_by_default(helm: Helm) -> None:
    def exempt(values: dict[str, Any], namespace: str = NAMESPACE) -> list[str]:
        found = find(helm.render(values, namespace=namespace), "MutatingWebhookConfiguration")
        names: list[str] = found["webhooks"][0]["namespaceSelector"]["matchExpressions"][-1][
            "values"
        ]
        return names

    assert exempt({}) == [NAMESPACE, "kube-system"]
    assert exempt({}, "kube-system") == ["kube-system"]
    assert exempt({"exemptNamespaces": []}) == [NAMESPACE]


def test_ports_and_probes_match_the_listeners(objects: list[Object]) -> None:
    only = container(objects)
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    assert ports["webhook-server"] == find_target(objects) == 9443
    settings = _settings(objects)
    assert settings.health_addr == f":{ports['healthz']}"
    assert settings.metrics_addr == f":{ports['metrics']}"
    for probe in ("livenessProbe", "readinessProbe"):
        assert only[probe]["httpGet"]["port"] == "healthz"
    registered = find(objects, "MutatingWebhookConfiguration")["webhooks"][0]["clientConfig"]
    served = find(objects, "Service", "azure-wi-webhook-webhook-service")["spec"]["ports"][0]
    assert registered["service"].get("port", 443) == served["port"]


def find_target(objects: list[Object]) -> int:
    (port,) = find(objects, "Service", "azure-wi-webhook-webhook-service")["spec"]["ports"]
    target: int = port["targetPort"]
    return target


def _settings(objects: list[Object]) -> WebhookSettings:
    """Parse flags and variables as the process does; an unknown one fails."""
    only = container(objects)
    environ = dict(find(objects, "ConfigMap", "azure-wi-webhook-config")["data"])
    environ |= {one["name"]: one.get("value", NAMESPACE) for one in only["env"]}
    known = [flag for flag in only["args"] if flag.partition("=")[0] not in NOT_SETTINGS]
    return WebhookSettings.from_environ(environ, known)


def test_process_accepts_all_rendered_flags_and_variables(objects: list[Object]) -> None:
    settings = _settings(objects)
    assert settings.tenant_id == TENANT
    assert settings.namespace == NAMESPACE


def test_additional_values_reach_the_process(helm: Helm) -> None:
    found = helm.render(SETS["all that is more"])
    entry = find(found, "MutatingWebhookConfiguration")["webhooks"][0]
    assert (entry["failurePolicy"], entry["timeoutSeconds"]) == ("Ignore", 5)
    assert find(found, "Deployment")["spec"]["template"]["spec"]["hostNetwork"] is True
    assert "--version=false" in container(found)["args"]
    settings = _settings(found)
    assert settings.audience == "api://AzureADTokenExchangeUSGov"
    assert settings.tls_min_version == "1.2"
    assert settings.proxy_image == "registry.example.com/proxy:1"
    assert settings.proxy_init_image == "registry.example.com/proxy-init:1"
    assert (settings.proxy_mode, settings.proxy_init_privileged) == ("env", False)
    assert settings.legacy_token_path is True
    selector = _settings(helm.render(SETS["a bundle by label"])).ca_selector
    assert selector == {"matchLabels": {"app": "<a & b>"}}


def test_settings_of_the_sidecar_are_absent_by_default(helm: Helm) -> None:
    """A release of azure-workload-identity is upgraded without a change of its ConfigMap."""
    names = find(helm.render({}), "ConfigMap")["data"].keys()
    assert not names & {"PROXY_MODE", "PROXY_INIT_PRIVILEGED", "LEGACY_TOKEN_PATH"}


def test_mode_env_accepts_a_proxy_image_from_extra_env(helm: Helm) -> None:
    extra = [{"name": "PROXY_IMAGE", "value": "registry.example.com/podpass-proxy:1"}]
    settings = _settings(helm.render({"proxyMode": "env", "extraEnv": extra}))
    assert (settings.proxy_mode, settings.proxy_image) == ("env", extra[0]["value"])


def test_webhook_pods_are_replaced_only_if_a_setting_changes(helm: Helm) -> None:
    def mark(values: dict[str, Any]) -> str:
        template = find(helm.render(values), "Deployment")["spec"]["template"]["metadata"]
        text: str = template["annotations"]["podpass/config"]
        return text

    assert mark({}) == mark({"failurePolicy": "Ignore"})
    assert mark({}) != mark({"azureEnvironment": "AzureChinaCloud"})


def test_cert_manager_creates_the_certificate_and_injects_its_ca(helm: Helm) -> None:
    found = helm.render(CERT_MANAGER)
    leaf = find(found, "Certificate", "azure-wi-webhook-server-cert")["spec"]
    assert leaf["dnsNames"] == [f"azure-wi-webhook-webhook-service.{NAMESPACE}.svc"]
    annotations = find(found, "MutatingWebhookConfiguration")["metadata"]["annotations"]
    assert annotations == {
        "cert-manager.io/inject-ca-from": f"{NAMESPACE}/azure-wi-webhook-server-cert"
    }
    volumes = {
        volume["name"]: volume
        for volume in find(found, "Deployment")["spec"]["template"]["spec"]["volumes"]
    }
    assert volumes["cert"]["secret"]["secretName"] == leaf["secretName"]
    settings = _settings(found)
    assert settings.disable_cert_rotation
    assert {"name": "cert", "mountPath": settings.cert_dir, "readOnly": True} in container(found)[
        "volumeMounts"
    ]
    assert not [one for one in found if one["kind"] == "Secret"]


def test_renewed_leaf_is_signed_by_the_same_ca(helm: Helm) -> None:
    """A new self-signed leaf would be in the caBundle before the pods serve it, and calls would fail."""
    found = helm.render(CERT_MANAGER)
    leaf = find(found, "Certificate", "azure-wi-webhook-server-cert")["spec"]["issuerRef"]
    authority = find(found, "Certificate", "azure-wi-webhook-ca")["spec"]
    assert find(found, "Issuer", leaf["name"])["spec"] == {
        "ca": {"secretName": authority["secretName"]}
    }
    assert authority["isCA"] is True
    (one,) = [
        each for each in helm.render(SETS["cert-manager with an issuer"]) if each["kind"] in FOREIGN
    ]
    assert one["spec"]["issuerRef"] == {"kind": "ClusterIssuer", "name": "corp"}


def test_own_certificate_is_mounted_and_its_ca_is_in_the_configuration(helm: Helm) -> None:
    values = SETS["a certificate of one's own"]
    found = helm.render(values)
    (entry,) = find(found, "MutatingWebhookConfiguration")["webhooks"]
    assert base64.b64decode(entry["clientConfig"]["caBundle"]).decode() == values["caBundle"]
    pod = find(found, "Deployment")["spec"]["template"]["spec"]
    assert {"secretName": "mine", "defaultMode": 0o644} in [
        volume.get("secret") for volume in pod["volumes"]
    ]


def test_rotated_certificate_is_read_through_the_api_and_not_mounted(helm: Helm) -> None:
    found = helm.render()
    assert [volume["name"] for volume in _pods(found)[0]["volumes"]] == ["tmp"]
    assert not _settings(found).disable_cert_rotation


def test_advice_entry_is_off_by_default_and_cannot_refuse_a_pod(helm: Helm) -> None:
    assert len(find(helm.render(), "MutatingWebhookConfiguration")["webhooks"]) == 1
    entry = find(helm.render({"advice": {"enabled": True}}), "MutatingWebhookConfiguration")[
        "webhooks"
    ][1]
    assert entry["failurePolicy"] == "Ignore"
    assert entry["timeoutSeconds"] == 1
    assert entry["sideEffects"] == "None"
    assert entry["clientConfig"]["service"]["path"] == "/warn-v1-pod"
    assert entry["objectSelector"] == {
        "matchExpressions": [
            {"key": "azure.workload.identity/use", "operator": "NotIn", "values": ["true"]}
        ]
    }


@pytest.mark.parametrize(("enabled", "said"), [(True, "NoneOnDryRun"), (False, "None")])
def test_side_effects_are_declared_correctly(helm: Helm, enabled: bool, said: str) -> None:
    found = helm.render({"events": {"enabled": enabled}})
    assert ("--refusal-events=false" in container(found)["args"]) is not enabled
    assert find(found, "MutatingWebhookConfiguration")["webhooks"][0]["sideEffects"] == said


def test_network_policy_allows_served_ports_and_all_egress(helm: Helm) -> None:
    found = helm.render()
    policy = find(found, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert opened == {port["name"] for port in container(found)["ports"]}
    assert not [rule for rule in policy["ingress"] if "from" in rule]
    labels = find(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    narrow = find(helm.render(SETS["all that is more"]), "NetworkPolicy")["spec"]
    assert narrow["policyTypes"] == ["Ingress", "Egress"]
    assert [bool(rule.get("from")) for rule in narrow["ingress"]] == [False, True]


def test_network_policy_can_restrict_callers_of_the_webhook(helm: Helm) -> None:
    """A caller that reaches the port can forge reviews; probes come from the node and stay allowed."""
    servers = [{"ipBlock": {"cidr": "10.0.0.0/28"}}]
    rules = find(helm.render({"networkPolicy": {"webhookFrom": servers}}), "NetworkPolicy")["spec"]
    peers = {port["port"]: rule.get("from") for rule in rules["ingress"] for port in rule["ports"]}
    assert peers == {"webhook-server": servers, "healthz": None, "metrics": None}


def test_service_monitor_selects_the_metrics_port(helm: Helm) -> None:
    found = helm.render({"serviceMonitor": {"enabled": True}})
    wanted = find(found, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    matched = [
        one["metadata"]["name"]
        for one in found
        if one["kind"] == "Service" and wanted.items() <= one["metadata"]["labels"].items()
    ]
    assert matched == ["azure-wi-webhook-metrics"]


@pytest.mark.parametrize("value", ["serviceMonitor", "prometheusRule"])
def test_label_that_prometheus_selects_overrides_the_label_of_the_chart(
    helm: Helm, value: str
) -> None:
    """By default, kube-prometheus-stack selects objects by `release`, a label that the chart sets too."""
    found = helm.render({value: {"enabled": True, "labels": {"release": "prometheus"}}})
    kind = value[0].upper() + value[1:]
    assert find(found, kind)["metadata"]["labels"]["release"] == "prometheus"


def test_replicas_are_spread_and_have_a_disruption_budget(helm: Helm) -> None:
    found = helm.render()
    spec = find(found, "Deployment")["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    assert find(found, "PodDisruptionBudget")["spec"]["minAvailable"] < spec["replicas"]


def test_container_has_memory_limit_and_no_cpu_limit(helm: Helm) -> None:
    """With a CPU limit the webhook would be throttled, which delays every pod."""
    resources = container(helm.render())["resources"]
    assert set(resources["limits"]) == {"memory"}
    assert resources["requests"].keys() == {"cpu", "memory"}


def test_chart_notes_describe_unusual_settings(helm: Helm, tmp_path: Path) -> None:
    """Helm prints notes only when it installs, so they are rendered here as another file of the chart."""
    chart = tmp_path / "podpass"
    shutil.copytree(CHART, chart)
    text = (chart / "templates" / "NOTES.txt").read_text()
    indented = '{{ include "notes" . | quote }}'
    (chart / "templates" / "notes.yaml").write_text(
        '{{- define "notes" -}}\n' + text + "{{- end -}}\nkind: Notes\ntext: " + indented
    )

    def notes(values: dict[str, Any]) -> str:
        done = helm("template", "x", str(chart), "--namespace", NAMESPACE, values=values)
        assert done.returncode == 0, done.stderr
        (one,) = [one for one in read_objects(done.stdout) if one["kind"] == "Notes"]
        text: str = one["text"]
        return text

    assert "build it from deploy/" in notes({})
    assert "build it from deploy/" not in notes({"image": {"repository": "r/podpass"}})
    assert f"every namespace but\n{NAMESPACE}, kube-system." in notes({})
    assert f"helm test x -n {NAMESPACE}\n  kubectl -n default logs x-test" in notes({})
    assert "helm test" not in notes({"helmTest": {"namespace": "kube-system"}})
    assert "start without their identity" in notes({"failurePolicy": "Ignore"})
    assert "With one replica" in notes({"replicaCount": 1})
    assert "provide the certificate and the caBundle" in notes({"disableCertRotation": True})
    assert "Advice is on" in notes({"advice": {"enabled": True}})


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


OWN, AUTHORITY = Helm, authority.AuthorityChart


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((OWN, name) for name in SETS), *((AUTHORITY, name) for name in authority.SETS)],
)
def test_helm_lint_reports_no_problem(helm: Helm, kind: type[Helm], name: str) -> None:
    values = (SETS if kind is OWN else authority.SETS)[name]
    assert "[WARNING]" not in kind(helm.binary).lint(values)


@pytest.mark.parametrize("kind", [OWN, AUTHORITY])
def test_chart_can_be_a_conditional_dependency_of_another_chart(
    helm: Helm, kind: type[Helm]
) -> None:
    chart = kind(helm.binary)
    assert chart.render({"global": {"registry": "x"}, "enabled": True}) == chart.render()
