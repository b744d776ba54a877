"""Unmodified images of every language read their secret from the cloud half, with its variables alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.node.cloud_installation import Installation
from tests.node.container_facts import read_facts
from tests.node.language_images import CLIENTS, VAULT
from tests.node.language_pods import ENDED, SECRET, Languages
from tests.node.node import Node
from tests.node.objects import container, pod
from tests.node.sandbox import wait_until


@dataclass(frozen=True, slots=True)
class Ended:
    """The output of a client in two pods that have ended: with the trusted ServiceAccount, and another."""

    trusted: str
    other: str


@pytest.fixture(scope="module")
def languages(cloud: Installation) -> Languages:
    return Languages(cloud)


@pytest.fixture(scope="module", params=CLIENTS)
def ended(request: pytest.FixtureRequest, languages: Languages) -> Iterator[Ended]:
    """Run a client in two pods."""
    node, client = languages.node, CLIENTS[request.param]
    names = {account: f"{request.param}-{account}" for account in ("web", "other")}
    node.apply(*(languages.pod(name, client, account) for account, name in names.items()))
    node.wait_for("wait", ENDED, *(f"pod/{name}" for name in names.values()), "-n", "shop")
    logs = {account: node.kubectl("logs", name, "-n", "shop") for account, name in names.items()}
    yield Ended(logs["web"], logs["other"])
    node.kubectl("delete", "pod", "-n", "shop", "--wait=false", *names.values())


def test_unmodified_image_reads_its_secret(ended: Ended) -> None:
    assert SECRET in ended.trusted


def test_client_of_another_service_account_is_refused_with_the_code(ended: Ended) -> None:
    assert SECRET not in ended.other
    assert "AADSTS700213" in ended.other


_OPEN_ERROR_PAGE = r"""
uri=$(sh /app/secret.sh 2>&1 | sed -n 's/.*"error_uri":"\([^"]*\)".*/\1/p')
echo "$uri"
curl -sSf -H "Accept: application/json" "$uri" && echo
"""


def test_error_links_to_a_page_that_a_container_can_reach(languages: Languages) -> None:
    node, app = languages.node, container(["sh", "-c", _OPEN_ERROR_PAGE], languages.image("curl"))
    node.apply(pod("error-page", "shop", app, serviceAccountName="other"))
    node.wait_for("wait", ENDED, "pod/error-page", "-n", "shop")
    uri, page = node.kubectl("logs", "error-page", "-n", "shop").splitlines()
    assert uri == "https://login.microsoftonline.com/error?code=700213"
    assert json.loads(page)["code"] == 700213


_READ_AND_WAIT = ["sh", "-c", "sh /app/secret.sh && exec sleep 3600"]


@pytest.fixture(scope="module")
def waiting_pod(languages: Languages) -> Iterator[Node]:
    """Run a pod whose init container, native sidecar and container read the secret, and stay."""
    node, image = languages.node, languages.image("curl")
    command = CLIENTS["curl"].command
    init = [
        container(command, image, name="init"),
        container(_READ_AND_WAIT, image, name="sidecar", restartPolicy="Always"),
    ]
    app = container(_READ_AND_WAIT, image)
    node.apply(pod("kinds", "shop", app, initContainers=init))
    node.wait_for("wait", "--for=condition=Ready", "pod/kinds", "-n", "shop")
    yield node
    node.kubectl("delete", "pod", "kinds", "-n", "shop", "--wait=false")


@pytest.mark.parametrize("name", ["init", "sidecar", "app"])
def test_every_container_of_a_pod_reads_the_secret(waiting_pod: Node, name: str) -> None:
    def has_read() -> bool:
        log = waiting_pod.kubectl("logs", "kinds", "-n", "shop", "-c", name)
        assert "AADSTS" not in log
        return SECRET in log

    wait_until(has_read, 120, f"{name} reads the secret")


def test_containers_have_no_rights_and_write_nothing(waiting_pod: Node) -> None:
    for name in ("sidecar", "app"):
        facts = read_facts(waiting_pod, "shop", "kinds", name)
        assert (facts.user, facts.capabilities) == (65532, 0)
        assert facts.root_is_read_only
        assert facts.no_new_privileges


def test_debug_container_reads_the_secret_with_the_identity_of_the_container(
    waiting_pod: Node, languages: Languages
) -> None:
    """Names and trust come without a setting; the identity is what its user gives it."""
    (app,) = waiting_pod.get("pod", "kinds", "-n", "shop")["spec"]["containers"]
    mounts = [each for each in app["volumeMounts"] if "azure-workload-identity" in each["name"]]
    identity = {"env": app["env"], "volumeMounts": mounts}
    custom = waiting_pod.sandbox.folder / "debug.json"
    custom.write_text(json.dumps(identity))
    debug = ("debug", "kinds", "-n", "shop", "--container=debugger", "--profile=restricted")
    image = f"--image={languages.image('curl')}"
    waiting_pod.kubectl(*debug, image, f"--custom={custom}", "--", *CLIENTS["curl"].command)
    ended = "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated}"
    waiting_pod.wait_for("wait", ended, "pod/kinds", "-n", "shop")
    assert SECRET in waiting_pod.kubectl("logs", "kinds", "-n", "shop", "-c", "debugger")


def test_musl_resolver_finds_azures_names(languages: Languages) -> None:
    """It asks for both kinds of addresses at once, and takes an error of one for an error of the name."""
    vaults = (f"{VAULT}.vault.azure.net", "no-such-vault.vault.azure.net")
    names = ("login.microsoftonline.com", vaults[0], vaults[1], "kubernetes.default")
    app = container(["/resolve", *names], languages.image("musl"))
    node = languages.node
    node.apply(pod("musl", "shop", app))
    node.wait_for("wait", ENDED, "pod/musl", "-n", "shop")
    found = dict(
        line.split(" ", 1) for line in node.kubectl("logs", "musl", "-n", "shop").splitlines()
    )
    address = languages.cloud.status()["address"]
    expected = (address, address, "NXDOMAIN", "10.96.0.1")
    assert found == dict(zip(names, expected, strict=True))


def test_pod_that_is_excluded_does_not_trust_the_cloud(languages: Languages) -> None:
    """The names of the cluster's DNS are for all pods, so its client sees the certificate and refuses it."""
    found = languages.pod("excluded", CLIENTS["curl"], "web")
    found["metadata"]["labels"] = {**found["metadata"]["labels"], "podpass.dev/cloud": "disabled"}
    node = languages.node
    node.apply(found)
    node.wait_for("wait", ENDED, "pod/excluded", "-n", "shop")
    assert "curl: (60) SSL certificate problem" in node.kubectl("logs", "excluded", "-n", "shop")
