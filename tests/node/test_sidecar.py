"""An application that knows only IMDS reads a secret through the migration sidecar, in each of its forms."""

import json
from typing import Any

import pytest

from podpass import names
from tests.node import images
from tests.node.conftest import CHART, RELEASE, SYSTEM, webhook_pods
from tests.node.container_facts import describe, measure_start, read_facts
from tests.node.node import BUNDLE, Node
from tests.node.objects import CLIENT_ID, container, create_namespace, pod
from tests.node.sandbox import wait_until
from tests.programs import built

PROXY_IMAGE, INIT_IMAGE = "podpass.test/proxy:0.1.0", "podpass.test/proxy-init:0.1.0"
# The credential of an application from before workload identity: it asks the metadata service only.
_READ = f"""
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
credential = ManagedIdentityCredential(client_id="{CLIENT_ID}")
print(SecretClient("https://demo-vault.vault.azure.net/", credential).get_secret("greeting").value)
"""

_READ_FOREVER = f"""
import time
while True:
    exec({_READ!r}, {{}})
    time.sleep(1)
"""
_REFERENCE_IMAGE = "podpass.test/reference-proxy:1.6.0"
_PORT = 8000
_MEMORY_MIB = 64


@pytest.fixture(scope="module")
def sidecar(webhook: Node) -> Node:
    """Provide a webhook that injects the sidecar of this checkout."""
    install_sidecar(webhook)
    return webhook


def install_sidecar(webhook: Node) -> None:
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
    where = ("--namespace", SYSTEM, "--wait", "--timeout", "600s", "--reuse-values")
    webhook.helm("upgrade", RELEASE, str(CHART), "--set", chosen, *where)
    # Until its connections are drained, a replica that ends still serves with the settings of its start.
    wait_until(lambda: not webhook_pods(webhook, ending=True), 300, "the old replicas have ended")


def imds_pod(name: str, namespace: str, mode: str) -> dict[str, Any]:
    """Return a pod of an application that asks the metadata service, with a sidecar of a mode."""
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
    sidecar.apply(imds_pod("app", namespace, mode))
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
    found = _mutated(sidecar, imds_pod("app", namespace, mode))
    spec, proxy = found["spec"], _proxy(found)
    spec["initContainers"].remove(proxy)
    del proxy["restartPolicy"]
    spec["containers"].insert(0, proxy)
    sidecar.apply(found)
    ended = "--for=jsonpath={.status.containerStatuses[?(@.name=='app')].state.terminated.reason}"
    sidecar.wait_for("wait", f"{ended}=Completed", "pod/app", "-n", namespace)
    assert sidecar.kubectl("logs", "app", "-n", namespace, "-c", "app") == "hello from the vault\n"


@pytest.mark.parametrize("program", ["podpass", "reference"])
def test_killed_sidecar_is_restarted_and_serves_again(sidecar: Node, program: str) -> None:
    """The reference's program does the same in the same container."""
    namespace = f"killed-{program}"
    create_namespace(sidecar, namespace)
    found = imds_pod("app", namespace, "iptables")
    found["spec"]["containers"] = [container(["python", "-uc", _READ_FOREVER])]
    found = _mutated(sidecar, found)
    if program == "reference":
        _proxy(found)["image"] = _import_reference(sidecar)
    sidecar.apply(found)

    def count() -> int:
        logs = ("logs", "app", "-n", namespace, "-c", "app")
        lines = sidecar.kubectl(*logs, check=False).splitlines()
        return lines.count("hello from the vault")

    wait_until(lambda: count() > 1, 300, "the application reads its secret")
    facts = read_facts(sidecar, namespace, "app", names.PROXY_CONTAINER)
    assert (facts.user, facts.capabilities) == (1501, 0)
    assert facts.no_new_privileges
    assert facts.root_is_read_only
    assert facts.memory_mib < _MEMORY_MIB
    seconds = measure_start(sidecar, namespace, "app", names.PROXY_CONTAINER, _PORT)
    print(describe(f"sidecar, {program}", facts, seconds))
    before = count()
    wait_until(lambda: count() > before + 1, 300, "the application reads its secret again")
    sidecar.kubectl("delete", "pod", "app", "-n", namespace, "--wait=false")


def _mutated(node: Node, found: dict[str, Any]) -> dict[str, Any]:
    """Return a pod as the webhook changes it, without the label: the webhook does not change it again."""
    dry_run = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    mutated: dict[str, Any] = json.loads(node.kubectl(*dry_run, given=json.dumps(found)))
    del mutated["metadata"]["labels"]
    return mutated


def _proxy(found: dict[str, Any]) -> dict[str, Any]:
    proxies = (
        each for each in found["spec"]["initContainers"] if each["name"] == names.PROXY_CONTAINER
    )
    proxy: dict[str, Any] = next(proxies)
    return proxy


def _import_reference(node: Node) -> str:
    """Import the reference's sidecar as an image that trusts the instance's CA; return its name."""
    binary = built("azwi-proxy")
    folder = node.sandbox.folder
    layers = [
        images.program_layer(folder / "reference-proxy.layer", {"/proxy": binary}),
        images.text_layer(folder / "ca.layer", {BUNDLE: node.cloud.ca.read_bytes()}),
    ]
    image = images.Image(
        name=_REFERENCE_IMAGE,
        layers=layers,
        command=["/proxy"],
        user="1501:1501",
        variables={"SSL_CERT_FILE": BUNDLE},
    )
    node.import_image(images.write_archive(image, folder / "reference-proxy.tar"))
    return _REFERENCE_IMAGE
