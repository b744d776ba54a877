"""The cloud half in a pod of the node, as `podpass cloud install` makes it, for the tests that use it."""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from podpass import __version__
from tests.node.node import PODPASS_IMAGE, SEED, Node
from tests.node.objects import CLIENT_ID, container, pod

IMAGE = f"{PODPASS_IMAGE}:{__version__}"
COREFILE = ("get", "configmap", "coredns", "-n", "kube-system", "-o", "jsonpath={.data.Corefile}")
# It names nothing of podpass: addresses, trust and identity come from the cluster.
READ = """
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient

vault = SecretClient("https://demo-vault.vault.azure.net/", WorkloadIdentityCredential())
print(vault.get_secret("greeting").value)
"""
RESOLVE = """
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
        return run_podpass(self.node, *arguments, given=given)

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


def run_podpass(node: Node, *arguments: str, given: str = "") -> str:
    """Run a command of `podpass cloud` as the administrator of a cluster; return its output."""
    kubeconfig = f"KUBECONFIG={node.pki.kubeconfig('admin')}"
    command = [sys.executable, "-m", "podpass.cli", "cloud", *arguments]
    return str(node.sandbox.run("env", kubeconfig, *command, given=given, seconds=290).stdout)


WEB_SEED = f"""
identities:
  - name: web
    client_id: {CLIENT_ID}
    federated_credentials:
      - {{name: shop, issuer: cluster, subject: "system:serviceaccount:shop:web"}}
"""


@pytest.fixture(scope="module")
def cloud(webhook: Node) -> Iterator[Installation]:
    """Install the cloud half for one namespace with the restricted profile; remove it at the end."""
    with installed(webhook) as installation:
        yield installation


@contextlib.contextmanager
def installed(webhook: Node) -> Iterator[Installation]:
    """Install the cloud half for the namespace `shop` until the context ends."""
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    about = {"name": "shop", "labels": restricted}
    webhook.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": about})
    for account in ("web", "other"):
        annotations = {"azure.workload.identity/client-id": CLIENT_ID}
        about = {"name": account, "namespace": "shop", "annotations": annotations}
        webhook.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": about})
    installation = Installation(webhook, webhook.kubectl(*COREFILE))
    arguments = ("install", f"--image={IMAGE}", "--for=shop", f"--seed={SEED}", "--timeout=280")
    print(installation.podpass(*arguments))
    print(installation.podpass("apply", "-f", "-", given=WEB_SEED))
    yield installation
    installation.podpass("uninstall", "--yes")
