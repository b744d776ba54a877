"""An application that knows only IMDS reads a secret through the migration sidecar, in each of its forms."""

import json
from typing import Any

import pytest

from podpass import names
from tests.node import images
from tests.node.conftest import CHART, RELEASE, SYSTEM
from tests.node.node import BUNDLE, Node
from tests.node.objects import CLIENT_ID, container, create_namespace, pod
from tests.node.sandbox import wait_until

PROXY_IMAGE, INIT_IMAGE = "podpass.test/proxy:0.1.0", "podpass.test/proxy-init:0.1.0"
# The credential of an application from before workload identity: it asks the metadata service only.
_READ = f"""
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
credential = ManagedIdentityCredential(client_id="{CLIENT_ID}")
print(SecretClient("https://demo-vault.vault.azure.net/", credential).get_secret("greeting").value)
"""


@pytest.fixture(scope="module")
def sidecar(webhook: Node) -> Node:
    """Import the images of the sidecar, and let the webhook use them."""
    folder = webhook.sandbox.folder
    # The sidecar is a client of the token service, so its image trusts the instance's CA, too.
    own = images.text_layer(folder / "sidecar.layer", {BUNDLE: webhook.cloud.ca.read_bytes()})
    variables = {"PATH": "/usr/local/bin", "SSL_CERT_FILE": BUNDLE}
    for name, target, command, user in (
        (PROXY_IMAGE, "proxy", ["/proxy"], "1501:1501"),
        (INIT_IMAGE, "proxy-init", ["podpass", "proxy-init"], "0:0"),
    ):
        layers = [images.target_layer(target), own]
        image = images.Image(
            name=name, layers=layers, command=command, user=user, variables=variables
        )
        webhook.import_image(images.write_archive(image, folder / "sidecar.tar"))
    chosen = f"proxyImage={PROXY_IMAGE},proxyInitImage={INIT_IMAGE},proxyInitPrivileged=false"
    where = ("--namespace", SYSTEM, "--wait", "--timeout", "300s", "--reuse-values")
    webhook.helm("upgrade", RELEASE, str(CHART), "--set", chosen, *where)
    # Until its connections are drained, a replica that ends still serves with the settings of its start.
    wait_until(lambda: not _ending(webhook), 300, "the replicas with the old settings have ended")
    return webhook


def _ending(node: Node) -> list[str]:
    pods = node.get("pods", "-n", SYSTEM, "-l", "azure-workload-identity.io/system=true")["items"]
    return [each["metadata"]["name"] for each in pods if "deletionTimestamp" in each["metadata"]]


def _imds_pod(name: str, namespace: str, mode: str) -> dict[str, Any]:
    found = pod(name, namespace, container(["python", "-c", _READ]))
    found["metadata"]["annotations"] = {names.INJECT_PROXY: "true", names.PROXY_MODE: mode}
    return found


@pytest.mark.parametrize(("mode", "standard"), [("iptables", "privileged"), ("env", "restricted")])
def test_native_sidecar_serves_an_application_of_imds(
    sidecar: Node, mode: str, standard: str
) -> None:
    """The mode env needs no privilege: its pod runs where the restricted standard is enforced."""
    namespace = f"native-{mode}"
    create_namespace(sidecar, namespace, enforce=standard)
    sidecar.apply(_imds_pod("app", namespace, mode))
    done = "--for=jsonpath={.status.phase}=Succeeded"
    sidecar.wait_for("wait", done, "pod/app", "-n", namespace)
    assert sidecar.kubectl("logs", "app", "-n", namespace, "-c", "app") == "hello from the vault\n"
    spec = sidecar.get("pod", "app", "-n", namespace)["spec"]
    policies = {each["name"]: each.get("restartPolicy") for each in spec["initContainers"]}
    expected = {"azwi-proxy": "Always"} | ({"azwi-proxy-init": None} if mode == "iptables" else {})
    assert policies == expected


@pytest.mark.parametrize("mode", ["iptables", "env"])
def test_ordinary_sidecar_serves_an_application_of_imds(sidecar: Node, mode: str) -> None:
    """The pod that a webhook makes for an API server before 1.32: the sidecar is a container."""
    namespace = f"ordinary-{mode}"
    create_namespace(sidecar, namespace)
    wanted = json.dumps(_imds_pod("app", namespace, mode))
    dry_run = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    found = json.loads(sidecar.kubectl(*dry_run, given=wanted))
    spec = found["spec"]
    (proxy,) = (each for each in spec["initContainers"] if each["name"] == "azwi-proxy")
    spec["initContainers"].remove(proxy)
    del proxy["restartPolicy"], found["metadata"]["labels"]
    spec["containers"].insert(0, proxy)
    sidecar.apply(found)
    ended = "--for=jsonpath={.status.containerStatuses[?(@.name=='app')].state.terminated.reason}"
    sidecar.wait_for("wait", f"{ended}=Completed", "pod/app", "-n", namespace)
    assert sidecar.kubectl("logs", "app", "-n", namespace, "-c", "app") == "hello from the vault\n"
