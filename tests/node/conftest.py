"""One real node for all tests of this folder; a test that needs other objects uses a namespace of its own."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.node.cloud_installation import cloud  # noqa: F401 a fixture
from tests.node.node import PODPASS_IMAGE, Node, running_node
from tests.node.objects import container, create_namespace, pod
from tests.node.programs import CannotRun
from tests.node.sandbox import left_by

_HERE = Path(__file__).parent
CHART = _HERE.parents[1] / "charts" / "podpass"
RELEASE = "workload-identity-webhook"
SYSTEM = "azure-workload-identity-system"

_TWO_TOKENS = """
import base64, json, os, time
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.secrets import SecretClient

seen = ""
for _ in range(2):
    while (token := open(os.environ["AZURE_FEDERATED_TOKEN_FILE"]).read()) == seen:
        time.sleep(1)
    seen = token
    part = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    vault = SecretClient("https://demo-vault.vault.azure.net/", WorkloadIdentityCredential())
    print(claims["jti"], claims["iat"], claims["exp"], vault.get_secret("greeting").value)
"""


def webhook_pods(node: Node, *, ending: bool = False) -> list[Any]:
    """Return the webhook's pods that serve, or those that end."""
    pods = node.get("pods", "-n", SYSTEM, "-l", "azure-workload-identity.io/system=true")["items"]
    return [each for each in pods if ("deletionTimestamp" in each["metadata"]) is ending]


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """Run a node without the webhook."""
    yield from run_clean_node(running_node())


def run_clean_node(node: AbstractContextManager[Node]) -> Iterator[Node]:
    """Yield a node, or skip the test; at its end, nothing of it may be left on the machine."""
    try:
        with node as running:
            yield running
        assert left_by(running.sandbox.folder.name) == []
    except CannotRun as exc:
        pytest.skip(f"a real node: {exc}")


@pytest.fixture(scope="session")
def webhook(node: Node) -> Node:
    """Install this project's chart as the installation guide does, with the image of this checkout."""
    create_system_namespace(node)
    install_webhook(node)
    return node


def create_system_namespace(node: Node) -> None:
    """Create the namespace of the webhook, with the restricted standard."""
    node.kubectl("create", "namespace", SYSTEM)
    restricted = "pod-security.kubernetes.io/enforce=restricted"
    node.kubectl("label", "namespace", SYSTEM, restricted)


def install_webhook(node: Node) -> None:
    """Install the chart into its namespace, which exists."""
    tenant = f"azureTenantID={node.cloud.status['tenant_id']}"
    image = f"image.repository={PODPASS_IMAGE}"
    where = ("--namespace", SYSTEM, "--wait", "--timeout", "600s")
    node.helm("install", RELEASE, str(CHART), "--set", tenant, "--set", image, *where)


@pytest.fixture(scope="session", autouse=True)
def _start_refreshing_pod_early(request: pytest.FixtureRequest) -> None:
    """Let the minutes of a token's lifetime pass while the other tests run."""
    if any("refreshing_pod" in getattr(each, "fixturenames", ()) for each in request.session.items):
        request.getfixturevalue("refreshing_pod")


@pytest.fixture(scope="session")
def refreshing_pod(webhook: Node) -> Node:
    """Start a pod that prints each of its first two tokens' ids and times, and the secret that it reads."""
    webhook.kubectl("apply", "-f", str(_HERE / "token_policy.yaml"))
    create_namespace(webhook, "refresh")
    webhook.apply(pod("refreshing", "refresh", container(["python", "-uc", _TWO_TOKENS])))
    return webhook
