"""The rendered objects are valid, have minimal permissions, and contain every value in its place."""

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from podpass.seed.apply import parse_seed
from podpass.settings import AuthorityProcessSettings, AuthoritySettings, describe
from tests.charts.authority.rendering import (
    EVERYTHING,
    NAME,
    NEWEST,
    OLDEST,
    SETS,
    TENANT,
    AuthorityChart,
)
from tests.charts.many_releases import ManyReleases
from tests.charts.rendering import FOREIGN, Object, Values, container, find

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import emits deprecation warnings
    import kubernetes_validate

pytestmark = pytest.mark.kubernetes


@pytest.fixture(params=SETS)
def values(request: pytest.FixtureRequest) -> Values:
    return SETS[request.param]


@pytest.fixture
def objects(chart: AuthorityChart, values: Values) -> list[Object]:
    return chart.render(values)


@pytest.fixture
def everything(chart: AuthorityChart) -> list[Object]:
    return chart.render(EVERYTHING)


def _pods(objects: list[Object]) -> list[Object]:
    kinds = {"Deployment", "Job"}
    templates = [one["spec"]["template"]["spec"] for one in objects if one["kind"] in kinds]
    return [*templates, find(objects, "Pod")["spec"]]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_object_matches_the_kubernetes_schemas(objects: list[Object], version: str) -> None:
    for one in objects:
        if one["kind"] not in FOREIGN:
            kubernetes_validate.validate(one, version, strict=True)


def test_objects_are_unique_and_in_the_release_namespace(objects: list[Object]) -> None:
    keys = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(keys) == len(set(keys)) >= 5
    assert {one["metadata"]["namespace"] for one in objects} == {"podpass"}
    assert not {"Secret", "Role", "ClusterRole"} & {one["kind"] for one in objects}


def test_pods_have_a_restricted_security_context(objects: list[Object], values: Values) -> None:
    """The pods fulfil the `restricted` profile, have a read-only root and no ServiceAccount token."""
    user = values.get("runAsUser", 65532)
    for pod in _pods(objects):
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"].get("runAsUser") == user
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for each in pod["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
    assert find(objects, "ServiceAccount")["automountServiceAccountToken"] is False


def test_selectors_match_the_replicas_and_not_test_or_seed_pods(objects: list[Object]) -> None:
    template = find(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
        for one in objects
        if one["kind"] in ("Deployment", "PodDisruptionBudget", "Service")
    ]
    selectors += [
        one["spec"]["podSelector"]["matchLabels"]
        for one in objects
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == _name(objects)
    ]
    tested = find(objects, "Pod")["metadata"]["labels"]
    for selector in selectors:
        assert selector.items() <= template.items()
        assert not selector.items() <= tested.items()
    for one in objects:
        if one["kind"] == "Job":
            seeding = one["spec"]["template"]["metadata"]["labels"]
            assert not [each for each in selectors if each.items() <= seeding.items()]


def test_readiness_requires_the_database_only_if_require_database_is_set(
    chart: AuthorityChart,
) -> None:
    for required, path in ((False, "/readyz"), (True, "/readyz?require=database")):
        only = container(chart.render({**EVERYTHING, "requireDatabase": required}))
        assert only["readinessProbe"]["httpGet"]["path"] == path
        assert only["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_ports_probes_and_policies_match_the_listeners(objects: list[Object]) -> None:
    only, data = container(objects), find(objects, "ConfigMap", _name(objects))["data"]
    ports = {port["name"]: port["containerPort"] for port in only["ports"]}
    listening = {"https": "LISTEN", "health": "HEALTH_LISTEN", "admin": "ADMIN_LISTEN"}
    for name, port in ports.items():
        assert data[f"PODPASS_AUTHORITY_{listening[name]}"].rpartition(":")[2] == str(port)
    assert ("PODPASS_AUTHORITY_ADMIN_LISTEN" in data) is ("admin" in ports)
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert only[probe]["httpGet"]["port"] == "health"
    served = find(objects, "Service", _name(objects))["spec"]["ports"]
    assert {port["targetPort"] for port in served} == set(ports) - {"health"}
    for one in objects:
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == _name(objects):
            opened = {port["port"] for rule in one["spec"]["ingress"] for port in rule["ports"]}
            assert opened == set(ports)


def _name(objects: list[Object]) -> str:
    name: str = find(objects, "Deployment")["metadata"]["name"]
    return name


def test_termination_grace_period_is_long_enough(objects: list[Object]) -> None:
    data = find(objects, "ConfigMap", _name(objects))["data"]
    delay = float(data["PODPASS_AUTHORITY_SHUTDOWN_DELAY_SECONDS"])
    drain = float(data["PODPASS_AUTHORITY_DRAIN_SECONDS"])
    spec = find(objects, "Deployment")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == delay + drain + 10


def _leaves(tree: Values, *of: str) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, *of, key)
        else:
            yield (*of, key)


def test_every_value_has_an_effect(
    chart: AuthorityChart, everything: list[Object], tmp_path: Path
) -> None:
    paths = list(_leaves(EVERYTHING))
    assert len(paths) > 50
    changed = []
    for path in paths:
        values = copy.deepcopy(EVERYTHING)
        place = values
        for part in path[:-1]:
            place = place[part]
        del place[path[-1]]
        changed.append(values)
    rendered = ManyReleases(chart, tmp_path).render(changed)
    idle = [
        ".".join(path)
        for path, one in zip(paths, rendered, strict=True)
        if one.objects == everything
    ]
    assert idle == ["podLabels.app.kubernetes.io/name"]  # the selector of the replicas


def test_each_value_for_pods_is_rendered_in_its_field(everything: list[Object]) -> None:
    spec = find(everything, "Deployment")["spec"]
    template, only = spec["template"], container(everything)
    pod, given = template["spec"], EVERYTHING
    assert (spec["replicas"], spec["revisionHistoryLimit"]) == (5, 3)
    for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName"):
        assert pod[key] == given[key], key
    assert pod["topologySpreadConstraints"] == given["topologySpreadConstraints"]
    assert template["metadata"]["labels"] == {"app.kubernetes.io/name": NAME, "team": "platform"}
    assert given["podAnnotations"].items() <= template["metadata"]["annotations"].items()
    assert only["resources"] == {**given["resources"], "requests": {"cpu": "4", "memory": "192Mi"}}
    assert given["extraEnv"][0] in only["env"]
    assert given["extraVolumes"][0] in pod["volumes"]
    assert given["extraVolumeMounts"][0] in only["volumeMounts"]
    assert pod["securityContext"]["fsGroup"] == 1000
    for each in _pods(everything):
        image = each["containers"][0]
        assert image["image"] == "registry.example.com/podpass@sha256:" + "0" * 64
        assert image["imagePullPolicy"] == "Always"
        assert each["nodeSelector"] == given["nodeSelector"]
    assert find(everything, "ServiceAccount")["imagePullSecrets"] == [{"name": "registry"}]


def test_each_secret_is_mounted_where_it_is_read(everything: list[Object]) -> None:
    pod = find(everything, "Deployment")["spec"]["template"]["spec"]
    secrets = {
        one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one
    }
    assert secrets == {"tls": "certificate", "sealing": "sealing"}
    job = find(everything, "Job")["spec"]["template"]["spec"]["containers"][0]
    for env in (container(everything)["env"][0], job["env"][0]):
        assert env["name"] == "PODPASS_AUTHORITY_DATABASE"
        assert env["valueFrom"]["secretKeyRef"] == {"name": "database", "key": "url"}
    (tested,) = find(everything, "Pod")["spec"]["volumes"]
    assert tested["secret"]["secretName"] == "certificate"
    assert [item["key"] for item in tested["secret"]["items"]] == ["tls.crt"]


def test_each_setting_reaches_the_process(everything: list[Object]) -> None:
    data = find(everything, "ConfigMap", NAME)["data"]
    assert data == {
        "PODPASS_AUTHORITY_ORIGIN": EVERYTHING["origin"],
        "PODPASS_AUTHORITY_TENANT_ID": TENANT,
        "PODPASS_AUTHORITY_LISTEN": "[::]:8443",
        "PODPASS_AUTHORITY_HEALTH_LISTEN": ":8095",
        "PODPASS_AUTHORITY_ADMIN_LISTEN": ":8444",
        "PODPASS_AUTHORITY_ADMIN_ORIGIN": "https://admin.corp.example",
        "PODPASS_AUTHORITY_TLS_CERTIFICATE": "/etc/podpass/tls/tls.crt",
        "PODPASS_AUTHORITY_TLS_KEY": "/etc/podpass/tls/tls.key",
        "PODPASS_AUTHORITY_SEALING_KEY_FILE": "/etc/podpass/sealing/sealing.key",
        "PODPASS_AUTHORITY_WORKERS": "4",
        "PODPASS_AUTHORITY_SHUTDOWN_DELAY_SECONDS": "30",
        "PODPASS_AUTHORITY_DRAIN_SECONDS": "60",
        "PODPASS_AUTHORITY_CLUSTER_ISSUER": "https://issuer.example.com/",
        "PODPASS_AUTHORITY_CLUSTER_SERVER": "https://10.96.0.1",
        "PODPASS_AUTHORITY_CLUSTER_CA_FILE": "/etc/podpass/cluster/ca.crt",
        "PODPASS_AUTHORITY_CLUSTER_TOKEN_FILE": "/etc/podpass/cluster/token",
        "PODPASS_AUTHORITY_ROTATION_SECONDS": "7776000",
        "PODPASS_AUTHORITY_CLIENT_RATE": "0.5",
        "PODPASS_AUTHORITY_CONNECTIONS": "2000000",
        "PODPASS_AUTHORITY_UNIFORM_REFUSALS": "true",
        "PODPASS_AUTHORITY_PRIVATE_ISSUER": "kubernetes.default.svc,10.20.0.0/16",
        "PODPASS_AUTHORITY_ISSUER_CA_FILE": "/more/ca.crt",
        "PODPASS_AUTHORITY_LOG_LEVEL": "debug",
    }
    kinds = (AuthorityProcessSettings, AuthoritySettings)
    assert set(data) <= {row["variable"] for kind in kinds for row in describe(kind)}


def test_only_replicas_get_the_cluster_ca_and_a_token_for_the_api_server(
    chart: AuthorityChart, everything: list[Object]
) -> None:
    pod = find(everything, "Deployment")["spec"]["template"]["spec"]
    (volume,) = [one for one in pod["volumes"] if "projected" in one]
    ca, token = volume["projected"]["sources"]
    assert ca["configMap"]["name"] == "ca-of-the-cluster"
    # No audience: the API server accepts no other token.
    assert token["serviceAccountToken"] == {"path": "token", "expirationSeconds": 3600}
    (mount,) = [one for one in container(everything)["volumeMounts"] if one["name"] == "cluster"]
    assert mount == {"name": "cluster", "mountPath": "/etc/podpass/cluster", "readOnly": True}
    data = find(everything, "ConfigMap", NAME)["data"]
    read = {data[f"PODPASS_AUTHORITY_CLUSTER_{name}_FILE"] for name in ("CA", "TOKEN")}
    assert read == {f"{mount['mountPath']}/{name}" for name in ("ca.crt", "token")}
    others = [each for each in _pods(everything) if each is not pod]
    assert others
    for other in (*others, find(chart.render(), "Deployment")["spec"]["template"]["spec"]):
        assert not [one for one in other["volumes"] if "projected" in one]


def test_authority_pods_are_replaced_only_if_a_setting_changes(chart: AuthorityChart) -> None:
    def mark(values: dict[str, Any]) -> str:
        template = find(chart.render(values), "Deployment")["spec"]["template"]["metadata"]
        text: str = template["annotations"]["podpass/config"]
        return text

    assert mark({}) == mark({"replicaCount": 4})
    assert mark({}) != mark({"settings": {"PODPASS_AUTHORITY_LOG_LEVEL": "debug"}})


def test_large_integer_is_rendered_without_exponent(chart: AuthorityChart) -> None:
    """Helm parses numbers of a file as floats and would print this one as 2.147483647e+09."""
    spec = find(chart.render({"replicaCount": 2**31 - 1}), "Deployment")["spec"]
    assert spec["replicas"] == 2**31 - 1


def test_service_has_the_configured_fields(everything: list[Object]) -> None:
    service = find(everything, "Service", NAME)
    assert service["metadata"]["annotations"] == {"lb.example.com/internal": "true"}
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert ports == {"https": 8443, "admin": 9444}


def test_network_policy_has_the_configured_peers(
    chart: AuthorityChart, everything: list[Object]
) -> None:
    policy = find(everything, "NetworkPolicy", NAME)["spec"]
    peers = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["ingress"]}
    label = "kubernetes.io/metadata.name"
    tested = find(everything, "Pod")["metadata"]["labels"].copy()
    del tested["helm.sh/chart"]
    assert peers == {
        "https": [{"namespaceSelector": {}}, {"podSelector": {"matchLabels": tested}}],
        "health": [{"namespaceSelector": {"matchLabels": {label: "observability"}}}],
        "admin": [{"ipBlock": {"cidr": "10.0.0.0/28"}}],
    }
    out = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert out == [53, 53, 6432, 8443, 4443]
    open_to_all = find(chart.render(SETS["a policy without peers"]), "NetworkPolicy")["spec"]
    assert not [rule for rule in open_to_all["ingress"] if "from" in rule]
    bare = chart.render(SETS["nothing that can be left out"])
    assert not {one["kind"] for one in bare} & {"NetworkPolicy", "PodDisruptionBudget"}


def test_seed_pods_may_connect_to_the_database_and_accept_no_connections(
    chart: AuthorityChart, everything: list[Object]
) -> None:
    policy = find(everything, "NetworkPolicy", f"{NAME}-seed")["spec"]
    labels = find(everything, "Job")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    out = [port["port"] for rule in policy["egress"] for port in rule["ports"]]
    assert out == [53, 53, 6432, 4443]
    seed = {"identities": [{"name": "web"}]}
    bare = chart.render({"seed": seed, "networkPolicy": {"enabled": False}})
    assert "NetworkPolicy" not in {one["kind"] for one in bare}


def test_failing_seed_job_ends_before_the_timeout_of_helm_and_keeps_its_logs(
    everything: list[Object],
) -> None:
    """Helm waits five minutes; a Job whose pods restart loses their logs."""
    job = find(everything, "Job")["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert sum(10 * 2**tried for tried in range(job["backoffLimit"])) < 240
    assert job["activeDeadlineSeconds"] <= 600


def test_disruption_budget_has_the_configured_value(
    chart: AuthorityChart, everything: list[Object]
) -> None:
    budget = find(everything, "PodDisruptionBudget")["spec"]
    assert budget["minAvailable"] == "50%"
    assert "maxUnavailable" not in budget
    assert find(chart.render(), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_authority_service_monitor_selects_the_metrics_port(everything: list[Object]) -> None:
    monitor = find(everything, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["endpoints"] == [{"port": "metrics", "interval": "15s"}]
    wanted = monitor["spec"]["selector"]["matchLabels"]
    matched = [
        one["metadata"]["name"]
        for one in everything
        if one["kind"] == "Service" and wanted.items() <= one["metadata"]["labels"].items()
    ]
    assert matched == [f"{NAME}-metrics"]


def test_rendered_seed_is_valid_for_the_command(
    chart: AuthorityChart, everything: list[Object]
) -> None:
    text = find(everything, "ConfigMap", f"{NAME}-seed")["data"]["seed.yaml"]
    found = parse_seed(text, "seed.yaml")
    assert [one.name for one in found.identities] == ["ops"]
    assert [one.name for one in found.resources] == ["ledger"]
    assert [one.name for one in found.administrators] == ["ops"]
    given = EVERYTHING["seed"]
    seeded = ("identities", "resources", "administrators")
    assert yaml.safe_load(text) == {key: given[key] for key in seeded}
    job = find(everything, "Job")["spec"]["template"]["spec"]["containers"][0]
    assert job["args"] == ["--cluster-issuer", "https://issuer.example.com/"]
    assert "Job" not in {one["kind"] for one in chart.render()}


def test_resources_alone_render_the_seed_job(chart: AuthorityChart) -> None:
    resource = {"name": "ledger", "uris": ["https://ledger.corp.example"]}
    objects = chart.render({"seed": {"resources": [resource]}})
    text = find(objects, "ConfigMap", f"{NAME}-seed")["data"]["seed.yaml"]
    assert yaml.safe_load(text) == {"resources": [resource]}
    job = find(objects, "Job")["spec"]["template"]["spec"]
    assert job["containers"][0]["command"][-2:] == ["-f", "/seed/seed.yaml"]
