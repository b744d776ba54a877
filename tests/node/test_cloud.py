"""The cloud half in a pod of the node, as `podpass cloud install` makes it, and unmodified images."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from podpass import __version__
from tests.node.node import PODPASS_IMAGE, SEED, Node
from tests.node.objects import CLIENT_ID, container, pod

_IMAGE = f"{PODPASS_IMAGE}:{__version__}"
_COREFILE = ("get", "configmap", "coredns", "-n", "kube-system", "-o", "jsonpath={.data.Corefile}")
# It names nothing of podpass: addresses, trust and identity come from the cluster.
_READ = """
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient

vault = SecretClient("https://demo-vault.vault.azure.net/", WorkloadIdentityCredential())
print(vault.get_secret("greeting").value)
"""
_RESOLVE = """
import socket, sys
for name in sys.argv[1:]:
    try:
        print(name, socket.gethostbyname(name))
    except socket.gaierror as exc:
        print(name, exc.errno == socket.EAI_NONAME and "NXDOMAIN")
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """An installed cloud, and the Corefile before the installation."""

    node: Node
    corefile: str

    def podpass(self, *arguments: str, given: str = "") -> str:
        """Run a command of `podpass cloud` as the administrator of the cluster; return its output."""
        return _podpass(self.node, *arguments, given=given)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.podpass("status", "-o", "json"))
        return found

    def run(self, name: str, script: str, *arguments: str, account: str = "web") -> str:
        """Run a script in a pod of an unmodified image; return its log."""
        app = container(["python", "-c", script, *arguments])
        self.node.apply(pod(name, "shop", app, serviceAccountName=account))
        done = "--for=jsonpath={.status.containerStatuses[0].state.terminated}"
        self.node.wait_for("wait", done, f"pod/{name}", "-n", "shop")
        return self.node.kubectl("logs", name, "-n", "shop")


def _podpass(node: Node, *arguments: str, given: str = "") -> str:
    kubeconfig = f"KUBECONFIG={node.pki.kubeconfig('admin')}"
    command = [sys.executable, "-m", "podpass.cli", "cloud", *arguments]
    return str(node.sandbox.run("env", kubeconfig, *command, given=given, seconds=290).stdout)


_SEED = f"""
identities:
  - name: web
    client_id: {CLIENT_ID}
    federated_credentials:
      - {{name: shop, issuer: cluster, subject: "system:serviceaccount:shop:web"}}
"""


@pytest.fixture(scope="module")
def cloud(webhook: Node) -> Iterator[Installation]:
    """Install the cloud half for one namespace with the restricted profile; remove it at the end."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    about = {"name": "shop", "labels": restricted}
    webhook.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    for account in ("web", "other"):
        annotations = {"azure.workload.identity/client-id": CLIENT_ID}
        about = {"name": account, "namespace": "shop", "annotations": annotations}
        webhook.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
    installation = Installation(webhook, webhook.kubectl(*_COREFILE))
    arguments = ("install", f"--image={_IMAGE}", "--for=shop", f"--seed={SEED}", "--timeout=280")
    print(installation.podpass(*arguments))
    print(installation.podpass("apply", "-f", "-", given=_SEED))
    yield installation
    installation.podpass("uninstall", "--yes")


def test_second_installation_changes_nothing(cloud: Installation) -> None:
    output = cloud.podpass("install", "--for=shop")
    assert "; 0 changes" in output
    assert " created" not in output


def test_tenant_is_that_of_the_webhook_that_was_there(cloud: Installation) -> None:
    assert cloud.status()["tenant_id"] == cloud.node.cloud.status["tenant_id"]


def test_unmodified_image_reads_its_secret(cloud: Installation) -> None:
    assert cloud.run("reader", _READ) == "hello from the vault\n"


def test_other_service_account_is_refused(cloud: Installation) -> None:
    assert "AADSTS700213" in cloud.run("refused", _READ, account="other")


def test_vault_has_a_name_when_it_exists(cloud: Installation) -> None:
    names = ("demo-vault.vault.azure.net", "later-vault.vault.azure.net", "graph.microsoft.com")
    address = cloud.status()["address"]
    found = dict(line.split() for line in cloud.run("early", _RESOLVE, *names).splitlines())
    assert found == {names[0]: address, names[1]: "NXDOMAIN", names[2]: address}
    cloud.podpass("apply", "-f", "-", given="vaults: [{name: later-vault}]")
    assert cloud.run("later", _RESOLVE, names[1]) == f"{names[1]} {address}\n"


def test_replaced_pod_is_the_same_cloud(cloud: Installation) -> None:
    before = cloud.status()
    cloud.node.kubectl("delete", "pod", "-n", "podpass-cloud", "--all", "--wait=true")
    deployment = ("-n", "podpass-cloud", "deployment/podpass-cloud")
    cloud.node.wait_for("rollout", "status", *deployment)
    after = cloud.status()
    same = ("tenant_id", "subscription_id", "issuer", "address")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    cloud.podpass("apply", "-f", "-", given=_SEED)
    assert cloud.run("again", _READ) == "hello from the vault\n"


def test_resolver_for_single_pods_needs_no_change_of_the_clusters_dns(cloud: Installation) -> None:
    cloud.podpass("install", "--for=shop", "--dns=pods", "--timeout=280")
    assert cloud.node.kubectl(*_COREFILE) == cloud.corefile
    cloud.podpass("apply", "-f", "-", given=_SEED)
    assert cloud.run("pod-dns", _READ) == "hello from the vault\n"
    names = ("kubernetes.default", "demo-vault.vault.azure.net")
    found = dict(line.split() for line in cloud.run("own-dns", _RESOLVE, *names).splitlines())
    assert found == {names[0]: "10.96.0.1", names[1]: cloud.status()["address"]}


def test_reset_keeps_the_cluster_and_the_pods_of_the_seed(cloud: Installation) -> None:
    cloud.podpass("apply", "-f", "-", given="vaults: [{name: third-vault}]")
    assert "is as at its start" in cloud.podpass("reset")
    assert cloud.status()["vaults"] == ["https://demo-vault.vault.azure.net"]
    cloud.podpass("apply", "-f", "-", given=_SEED)
    assert cloud.run("after-reset", _READ) == "hello from the vault\n"


def test_removed_installation_leaves_nothing(cloud: Installation) -> None:
    assert "is removed" in cloud.podpass("uninstall", "--yes")
    assert cloud.node.kubectl(*_COREFILE) == cloud.corefile
    kinds = "all,configmaps,secrets,roles,clusterroles,clusterrolebindings"
    kinds += ",mutatingwebhookconfigurations"
    for label in ("app.kubernetes.io/part-of=podpass-cloud", "podpass.dev/cloud-managed"):
        found = cloud.node.kubectl("get", kinds, "-A", "-l", label, "-o", "name")
        assert found == ""
    labels = cloud.node.get("namespace", "shop")["metadata"]["labels"]
    assert "podpass.dev/cloud" not in labels
