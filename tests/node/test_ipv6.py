"""A cluster with IPv6 only, as kind's `ipFamily: ipv6`: charts, the cloud half, unmodified images, sidecar.

No interface of its node or of a pod has an IPv4 address but loopback.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.node import authority
from tests.node.cloud_installation import COREFILE, READ, WEB_SEED, Installation, installed
from tests.node.conftest import (
    RELEASE,
    SYSTEM,
    create_system_namespace,
    install_webhook,
    run_clean_node,
)
from tests.node.language_images import CLIENTS, VAULT
from tests.node.language_pods import ENDED, SECRET, Languages
from tests.node.network import IPV6
from tests.node.node import Node, running_node
from tests.node.objects import CLIENT_ID, container, pod
from tests.node.test_cloud_host import Host
from tests.node.test_sidecar import imds_pod, install_sidecar

_NO_VAULT = "no-such-vault.vault.azure.net"
# The local addresses of IPv4, from the kernel's table of routes.
_IPV4_ADDRESSES = """
lines = open("/proc/net/fib_trie").read().split("\\n")
found = {one.split()[-1] for one, two in zip(lines, lines[1:]) if "/32 host LOCAL" in two}
print(*sorted(found))
"""
# Each name with its addresses of IPv4, of IPv6, and of both, from the C library's resolver.
_RESOLVE = """
import socket, sys
codes = {socket.EAI_NONAME: "NXDOMAIN", socket.EAI_NODATA: "NODATA"}
def resolve(name, family):
    try:
        found = socket.getaddrinfo(name, 443, family, socket.SOCK_STREAM)
    except socket.gaierror as exc:
        return codes.get(exc.errno, str(exc))
    return ",".join(each[4][0] for each in found)
for name in sys.argv[1:]:
    print(name, *(resolve(name, each) for each in (socket.AF_INET, socket.AF_INET6, 0)))
"""
_IMDS_SEED = f"""
identities:
  - name: web
    client_id: {CLIENT_ID}
    federated_credentials:
      - {{name: imds, issuer: cluster, subject: "system:serviceaccount:imds:web"}}
"""


@pytest.fixture(scope="module")
def ipv6_node() -> Iterator[Node]:
    """Run a node with IPv6 only."""
    yield from run_clean_node(running_node(IPV6))


@pytest.fixture(scope="module")
def ipv6_webhook(ipv6_node: Node) -> Node:
    """Install the chart of the webhook."""
    create_system_namespace(ipv6_node)
    install_webhook(ipv6_node)
    return ipv6_node


@pytest.fixture(scope="module")
def ipv6_cloud(ipv6_webhook: Node) -> Iterator[Installation]:
    """Install the cloud half for the namespace `shop`."""
    with installed(ipv6_webhook) as installation:
        yield installation


def test_chart_of_the_webhook_passes_its_own_test(ipv6_webhook: Node) -> None:
    output = ipv6_webhook.helm("test", RELEASE, "--namespace", SYSTEM, "--timeout", "600s")
    assert "Phase:          Succeeded" in output


def test_chart_of_the_token_service_issues_tokens(ipv6_node: Node) -> None:
    """PostgreSQL, the replicas, the API server's keys and the clients are reached by IPv6."""
    authority.install(ipv6_node)
    authority.create_load_namespace(ipv6_node)
    where = ("--namespace", authority.NAMESPACE, "--timeout", "180s")
    assert "Phase:          Succeeded" in ipv6_node.helm("test", authority.RELEASE, *where)
    with authority.exchange_load(ipv6_node) as exchanged:
        results = Counter(each.result for each in exchanged())
    assert set(results) == {"issued", "refused"}
    ipv6_node.kubectl("delete", "namespace", authority.NAMESPACE, "database", "--wait=false")


def test_nothing_of_the_cluster_has_an_ipv4_address(ipv6_cloud: Installation) -> None:
    node = ipv6_cloud.node
    assert ipv6_cloud.run("own", _IPV4_ADDRESSES) == "127.0.0.1\n"
    services = node.get("services", "-A")["items"]
    addresses = [each["spec"].get("clusterIP", "") for each in services]
    addresses += [each["address"] for each in _node_addresses(node)]
    for each in node.get("pods", "-A")["items"]:
        addresses += [found["ip"] for found in each["status"].get("podIPs", ())]
    assert len(addresses) > 8
    assert [each for each in addresses if ":" not in each and each != "None"] == []


def _node_addresses(node: Node) -> list[dict[str, str]]:
    (only,) = node.get("nodes")["items"]
    return [each for each in only["status"]["addresses"] if each["type"] == "InternalIP"]


def test_names_have_ipv6_addresses_and_none_of_ipv4(ipv6_cloud: Installation) -> None:
    """A query for IPv4 gets no NXDOMAIN, which would mean to the C library that the name does not exist."""
    address = ipv6_cloud.status()["address"]
    assert ":" in address
    names = ("login.microsoftonline.com", "demo-vault.vault.azure.net", _NO_VAULT)
    lines = ipv6_cloud.run("names", _RESOLVE, *names).splitlines()
    assert lines == [
        f"{names[0]} NODATA {address} {address}",
        f"{names[1]} NODATA {address} {address}",
        f"{names[2]} NXDOMAIN NXDOMAIN NXDOMAIN",
    ]


@pytest.fixture(scope="module")
def languages(ipv6_cloud: Installation) -> Languages:
    return Languages(ipv6_cloud)


def _run(languages: Languages, created: dict[str, Any]) -> str:
    """Run a pod to its end; return its log."""
    node, name = languages.node, created["metadata"]["name"]
    node.apply(created)
    node.wait_for("wait", ENDED, f"pod/{name}", "-n", "shop")
    return node.kubectl("logs", name, "-n", "shop")


@pytest.mark.parametrize("client", ["python", "node", "go", "java", "dotnet", "rust", "curl"])
def test_unmodified_image_reads_its_secret(languages: Languages, client: str) -> None:
    assert SECRET in _run(languages, languages.pod(client, CLIENTS[client], "web"))


def test_resolver_of_musl_finds_the_names(languages: Languages) -> None:
    names = ("login.microsoftonline.com", f"{VAULT}.vault.azure.net", _NO_VAULT)
    app = container(["/resolve", *names], languages.image("musl"))
    address = languages.cloud.status()["address"]
    expected = [f"{names[0]} {address}", f"{names[1]} {address}", f"{names[2]} NXDOMAIN"]
    assert _run(languages, pod("musl", "shop", app)).splitlines() == expected


def test_service_account_without_a_credential_is_refused(ipv6_cloud: Installation) -> None:
    assert "AADSTS700213" in ipv6_cloud.run("refused", READ, account="other")


def test_programs_of_the_host_and_the_demo_reach_the_cloud(ipv6_cloud: Installation) -> None:
    """The API server's URL has an IPv6 address in brackets."""
    host = Host(ipv6_cloud)
    done = host.cloud("run", "--as", "web.shop", "--", sys.executable, "-c", READ)
    assert done.stdout == "hello from the vault\n"
    output = host.cloud("demo").stdout
    assert f"login.microsoftonline.com is {ipv6_cloud.status()['address']}" in output
    assert "the secret is: hello from the vault" in output


@pytest.fixture(scope="module")
def imds_namespace(ipv6_cloud: Installation) -> Node:
    """Let the webhook inject the sidecar, and give its pods the cloud."""
    node = ipv6_cloud.node
    install_sidecar(node)
    about: dict[str, Any] = {"name": "imds", "labels": {"podpass.dev/cloud": "enabled"}}
    node.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    annotations = {"azure.workload.identity/client-id": CLIENT_ID}
    about = {"name": "web", "namespace": "imds", "annotations": annotations}
    node.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
    ipv6_cloud.podpass("apply", "-f", "-", given=_IMDS_SEED)
    return node


@pytest.mark.parametrize("mode", ["iptables", "env"])
def test_application_of_imds_reads_its_secret_through_the_sidecar(
    imds_namespace: Node, mode: str
) -> None:
    """The metadata service has an IPv4 address, to which such a pod has no route of its own."""
    imds_namespace.apply(imds_pod(mode, "imds", mode))
    done = "--for=jsonpath={.status.phase}=Succeeded"
    imds_namespace.wait_for("wait", done, f"pod/{mode}", "-n", "imds")
    log = imds_namespace.kubectl("logs", mode, "-n", "imds", "-c", "app")
    assert log == "hello from the vault\n"


def test_resolver_for_single_pods_needs_no_change_of_the_clusters_dns(
    ipv6_cloud: Installation,
) -> None:
    ipv6_cloud.podpass("install", "--for=shop", "--dns=pods", "--timeout=280")
    assert ipv6_cloud.node.kubectl(*COREFILE) == ipv6_cloud.corefile
    ipv6_cloud.podpass("apply", "-f", "-", given=WEB_SEED)
    assert ipv6_cloud.run("pod-dns", READ) == "hello from the vault\n"
    address = ipv6_cloud.status()["address"]
    lines = ipv6_cloud.run("own-dns", _RESOLVE, "kubernetes.default", _NO_VAULT).splitlines()
    api = IPV6.first.api_service
    assert lines == [
        f"kubernetes.default NODATA {api} {api}",
        f"{_NO_VAULT} NXDOMAIN NXDOMAIN NXDOMAIN",
    ]
    created = ipv6_cloud.node.get("pod", "own-dns", "-n", "shop")
    assert created["spec"]["dnsConfig"]["nameservers"] == [address]
