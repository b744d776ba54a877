"""What a pod lacks to use the cloud: the first problem, its fix, and limits."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from podpass.lab.install.pod_report import (
    LIMIT,
    OK,
    InstallationFacts,
    PodFacts,
    examine,
    first_wrong,
)
from podpass.lab.names.trust_objects import build_configuration

_TENANT = "11111111-2222-4333-8444-555555555555"
_CLIENT = "7c1f4d2e-5b0a-4f6e-9d3c-2a8b6e1f0c57"
_CREATED = "2026-11-30T08:00:00Z"
_ENV = {
    "AZURE_CLIENT_ID": _CLIENT,
    "AZURE_TENANT_ID": _TENANT,
    "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
    "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
}


def container(name: str = "app") -> dict[str, Any]:
    return {
        "name": name,
        "env": [{"name": key, "value": value} for key, value in _ENV.items()],
        "envFrom": [{"configMapRef": {"name": "podpass-cloud-trust-env"}}],
        "volumeMounts": [{"name": "podpass-cloud-trust", "mountPath": "/etc/podpass/trust"}],
    }


def good() -> PodFacts:
    """Return a pod that has everything."""
    token = {"audience": "api://AzureADTokenExchange", "expirationSeconds": 3600}
    projected = {"sources": [{"serviceAccountToken": token}]}
    pod = {
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "labels": {"azure.workload.identity/use": "true"},
            "creationTimestamp": _CREATED,
        },
        "spec": {
            "serviceAccountName": "web",
            "initContainers": [container("first")],
            "containers": [container()],
            "volumes": [
                {"name": "azure-identity-token", "projected": projected},
                {"name": "podpass-cloud-trust"},
            ],
        },
    }
    namespace = {"metadata": {"name": "shop", "labels": {"podpass.dev/cloud": "enabled"}}}
    return PodFacts(pod=pod, namespace=namespace, bundle={"data": {"ca.crt": "CA\n"}})


def cloud(**changed: Any) -> InstallationFacts:
    registration = build_configuration({}, "podpass-cloud")
    registration["metadata"]["creationTimestamp"] = "2026-11-30T07:00:00Z"
    values: dict[str, Any] = {
        "namespace": "podpass-cloud",
        "tenant_id": _TENANT,
        "ca": "CA",
        "resolver": "10.96.0.53",
        "registration": registration,
        "cluster_dns": True,
    }
    return InstallationFacts(**{**values, **changed})


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def changed(change: Change) -> PodFacts:
    """Return the good pod after a change of the pod and its namespace."""
    facts = good()
    pod, namespace = copy.deepcopy(dict(facts.pod)), copy.deepcopy(dict(facts.namespace))
    change(pod, namespace)
    return PodFacts(pod=pod, namespace=namespace, bundle=facts.bundle)


def test_healthy_pod_passes_every_check() -> None:
    checks = examine(good(), cloud())
    assert first_wrong(checks) is None
    wanted = ["namespace", "label", "variables", "token", "trust", "CA", "names"]
    assert [each.name for each in checks if each.state == OK] == wanted
    assert [each.name for each in checks if each.state == LIMIT] == ["clients"]


def _set_variable(name: str, value: str) -> Change:
    def change(pod: dict[str, Any], _: dict[str, Any]) -> None:
        for each in pod["spec"]["containers"] + pod["spec"]["initContainers"]:
            each["env"] = [one for one in each["env"] if one["name"] != name]
            each["env"].append({"name": name, "value": value})

    return change


def _drop(pod: Mapping[str, Any], member: str) -> None:
    del pod["spec"]["containers"][0][member]


_WRONG: dict[str, tuple[Change, str, str, str]] = {
    "namespace": (
        lambda _, namespace: namespace["metadata"].pop("labels"),
        "namespace",
        "shop has no label podpass.dev/cloud: enabled",
        "kubectl label namespace shop podpass.dev/cloud=enabled",
    ),
    "system-namespace": (
        lambda _, namespace: namespace["metadata"].update(name="kube-system"),
        "namespace",
        "pods of kube-system are never changed",
        "another namespace",
    ),
    "opt-out": (
        lambda pod, _: pod["metadata"]["labels"].update({"podpass.dev/cloud": "disabled"}),
        "namespace",
        "the pod has the label podpass.dev/cloud: disabled",
        "remove the label",
    ),
    "label": (
        lambda pod, _: pod["metadata"].pop("labels"),
        "label",
        "azure.workload.identity/use is missing",
        "to the pod template",
    ),
    "variables": (
        lambda pod, _: _drop(pod, "env"),
        "variables",
        "container app has no AZURE_CLIENT_ID",
        "podpass doctor",
    ),
    "no-client-id": (
        _set_variable("AZURE_CLIENT_ID", ""),
        "variables",
        "ServiceAccount web names no client ID",
        "kubectl annotate serviceaccount web azure.workload.identity/client-id=CLIENT-ID",
    ),
    "other-tenant": (
        _set_variable("AZURE_TENANT_ID", "other"),
        "variables",
        "tenant other is not that of the cloud",
        "azure.workload.identity/tenant-id",
    ),
    "other-authority": (
        _set_variable("AZURE_AUTHORITY_HOST", "https://login.example/"),
        "variables",
        "AZURE_AUTHORITY_HOST names login.example",
        "https://login.microsoftonline.com/",
    ),
    "token": (
        lambda pod, _: pod["spec"]["volumes"].pop(0),
        "token",
        "no volume has a token",
        "podpass doctor",
    ),
    "trust": (
        lambda pod, _: _drop(pod, "volumeMounts"),
        "trust",
        "no CA bundle in app",
        "create the pod again",
    ),
    "older": (
        lambda pod, _: (
            pod["metadata"].update(creationTimestamp="2026-11-30T06:00:00Z")
            or pod["spec"]["containers"][0].pop("envFrom")
        ),
        "trust",
        "is older than the installation",
        "create the pod again",
    ),
    "windows": (
        lambda pod, _: (
            pod["spec"].update(os={"name": "windows"})
            or pod["spec"]["containers"][0].pop("envFrom")
        ),
        "trust",
        "pods for Windows are not changed",
        "Linux",
    ),
    "host-network": (
        lambda pod, _: pod["spec"].update(hostNetwork=True),
        "names",
        "the pod is on the network of its node",
        "dnsPolicy: ClusterFirstWithHostNet",
    ),
    "dns-policy": (
        lambda pod, _: pod["spec"].update(dnsPolicy="Default"),
        "names",
        "dnsPolicy Default",
        "dnsPolicy: ClusterFirst",
    ),
}


@pytest.mark.parametrize("case", _WRONG)
def test_first_wrong_thing_is_named_with_its_fix(case: str) -> None:
    change, name, detail, fix = _WRONG[case]
    found = first_wrong(examine(changed(change), cloud()))
    assert found is not None
    assert (found.name, detail in found.detail, fix in found.fix) == (name, True, True), found


@pytest.mark.parametrize(
    ("facts", "name", "detail"),
    [
        ({"registration": None}, "namespace", "the trust webhook is not registered"),
        ({"ca": "other"}, "CA", "the CA of another installation"),
        ({"cluster_dns": False}, "names", "CoreDNS does not forward Azure's names"),
    ],
    ids=["registration", "ca", "dns"],
)
def test_wrong_installation_is_named(facts: dict[str, Any], name: str, detail: str) -> None:
    found = first_wrong(examine(good(), cloud(**facts)))
    assert found is not None
    assert (found.name, detail in found.detail) == (name, True)


def test_missing_config_map_is_wrong() -> None:
    facts = PodFacts(pod=good().pod, namespace=good().namespace, bundle=None)
    found = first_wrong(examine(facts, cloud()))
    assert found is not None
    assert found.detail == "namespace shop has no ConfigMap podpass-cloud-trust"


@pytest.mark.parametrize(
    ("spec", "facts", "detail"),
    [
        (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.96.0.53"]}},
            {"cluster_dns": False},
            "the cloud's resolver, 10.96.0.53",
        ),
        (
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            {},
            "CoreDNS, which forwards Azure's names to 10.96.0.53",
        ),
        ({}, {"cluster_dns": None}, "the Corefile cannot be read"),
    ],
    ids=["resolver", "host-network", "unreadable"],
)
def test_report_says_which_dns_resolves_azures_names(
    spec: dict[str, Any], facts: dict[str, Any], detail: str
) -> None:
    checks = examine(changed(lambda pod, _: pod["spec"].update(spec)), cloud(**facts))
    assert first_wrong(checks) is None
    assert detail in [each.detail for each in checks if each.name == "names"]


def test_all_namespaces_are_selected_without_a_label() -> None:
    registration = build_configuration({}, "podpass-cloud", all_namespaces=True)
    facts = changed(lambda _, namespace: namespace["metadata"].pop("labels"))
    checks = examine(facts, cloud(registration=registration))
    assert first_wrong(checks) is None
    assert checks[0].detail == "shop is selected (all namespaces)"


def test_skipped_container_needs_no_variables() -> None:
    def change(pod: dict[str, Any], _: dict[str, Any]) -> None:
        skipped = {"azure.workload.identity/skip-containers": "app; first"}
        pod["metadata"]["annotations"] = skipped
        for each in pod["spec"]["containers"] + pod["spec"]["initContainers"]:
            del each["env"]

    checks = examine(changed(change), cloud())
    assert first_wrong(checks) is None
    assert "all containers are skipped" in checks[2].detail


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (
            _set_variable("SSL_CERT_FILE", "/own"),
            "container app sets SSL_CERT_FILE; its value wins",
        ),
        (
            _set_variable("JAVA_TOOL_OPTIONS", "-Xmx1g"),
            "container app sets JAVA_TOOL_OPTIONS; its value wins",
        ),
        (_set_variable("HTTPS_PROXY", "http://p"), "container app sets HTTPS_PROXY"),
        (
            lambda pod, _: pod["spec"].update(
                hostAliases=[{"ip": "10.0.0.1", "hostnames": ["graph.microsoft.com"]}]
            ),
            "hostAliases give graph.microsoft.com the address 10.0.0.1",
        ),
        (
            lambda pod, _: pod["spec"].update(
                hostAliases=[{"ip": "10.0.0.1", "hostnames": ["demo.vault.azure.net", "a.example"]}]
            ),
            "hostAliases give demo.vault.azure.net the address 10.0.0.1",
        ),
    ],
    ids=["own-ca", "own-java-options", "proxy", "host-alias", "host-alias-of-a-vault"],
)
def test_limit_is_reported_and_does_not_fail_the_pod(change: Change, detail: str) -> None:
    checks = examine(changed(change), cloud())
    assert first_wrong(checks) is None
    limits = [each for each in checks if each.state == LIMIT and detail in each.detail]
    assert limits
    assert all(each.fix for each in limits)


def test_fix_of_a_limit_extends_the_variable_that_the_pod_sets() -> None:
    def change(pod: dict[str, Any], namespace: dict[str, Any]) -> None:
        _set_variable("JAVA_TOOL_OPTIONS", "-Xmx1g")(pod, namespace)
        _set_variable("HTTPS_PROXY", "http://p")(pod, namespace)

    fixes = {each.name: each.fix for each in examine(changed(change), cloud())}
    store = "append -Djavax.net.ssl.trustStore=/etc/podpass/trust/truststore.p12"
    assert fixes["own CA"].startswith(store)
    assert fixes["proxy"] == "add login.microsoftonline.com,.vault.azure.net to NO_PROXY"


def test_proxy_is_no_limit_if_no_proxy_has_azures_names() -> None:
    def change(pod: dict[str, Any], namespace: dict[str, Any]) -> None:
        _set_variable("HTTPS_PROXY", "http://p")(pod, namespace)
        _set_variable("NO_PROXY", "login.microsoftonline.com,.vault.azure.net")(pod, namespace)

    assert "proxy" not in {each.name for each in examine(changed(change), cloud())}
