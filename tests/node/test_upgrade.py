"""From the reference's chart, with its own program in an image, to this project's chart, and back."""

from collections import Counter
from collections.abc import Iterator

import pytest

from bench.peers.build import CannotBuild, build_program, module_folder
from tests.node import images
from tests.node.conftest import CHART, RELEASE, SYSTEM, webhook_pods
from tests.node.container_facts import describe, measure_start, read_facts
from tests.node.creators import creating_pods
from tests.node.node import PODPASS_IMAGE, Node
from tests.node.objects import create_namespace
from tests.node.sandbox import wait_until

_MODULE = "github.com/Azure/azure-workload-identity"
_IMAGE = "podpass.test/reference-webhook"
_HEALTH = 9440
_WAIT = ("--namespace", SYSTEM, "--wait", "--timeout", "600s")


@pytest.fixture(scope="module")
def reference_chart(node: Node) -> str:
    """Import the reference's webhook as an image, and return the path of its chart."""
    try:
        binary = build_program("azwi-webhook")
        sources = module_folder("azwi-webhook", _MODULE)
    except CannotBuild as exc:
        pytest.skip(f"the reference's webhook: {exc}")
    folder = node.sandbox.folder
    layer = images.program_layer(folder / "reference.layer", {"/manager": binary})
    image = images.Image(name=f"{_IMAGE}:v1.6.0", layers=[layer])
    node.import_image(images.write_archive(image, folder / "reference.tar"))
    return str(sources / "charts" / "workload-identity-webhook")


@pytest.fixture
def reference(webhook: Node, reference_chart: str) -> Iterator[Node]:
    """Install the reference in place of this project's chart, which is installed again at the end."""
    _print_facts(webhook, "podpass")
    webhook.helm("uninstall", RELEASE, "--namespace", SYSTEM, "--wait")
    tenant = f"azureTenantID={webhook.cloud.status['tenant_id']}"
    image = f"image.repository={_IMAGE}"
    webhook.helm("install", RELEASE, reference_chart, "--set", tenant, "--set", image, *_WAIT)
    _print_facts(webhook, "reference")
    yield webhook
    webhook.helm("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", *_SET, *_WAIT)


_SET = ("--set", f"image.repository={PODPASS_IMAGE}", "--set", "image.release=0.1.0")


def test_upgrade_from_the_reference_and_rollback_leave_no_pod_unmutated(reference: Node) -> None:
    """While both programs serve, and the Secret passes from one to the other and back."""
    create_namespace(reference, "upgrade")
    with creating_pods(reference, "upgrade") as created:
        to_ours = ("upgrade", RELEASE, str(CHART), "--reset-then-reuse-values", *_SET, *_WAIT)
        reference.helm(*to_ours)
        ours = _images(reference)
        reference.helm("rollback", RELEASE, "1", *_WAIT)
        theirs = _images(reference)
        reference.helm(*to_ours)
        before = len(created())
        wait_until(lambda: len(created()) > before + 20, 120, "pods are created afterwards")
        said = Counter(created())
    assert ours == {f"{PODPASS_IMAGE}:0.1.0"}
    assert theirs == {f"{_IMAGE}:v1.6.0"}
    assert not said["unmutated"]
    # The reference closes its listener before the API server knows, so a few requests may be refused.
    refused = said.total() - said["mutated"]
    assert refused <= said.total() // 50, said


def _print_facts(node: Node, program: str) -> None:
    """Print what a replica is. It kills one, so it must not run while pods are created."""
    name = webhook_pods(node)[0]["metadata"]["name"]
    facts = read_facts(node, SYSTEM, name)
    print(describe(f"webhook, {program}", facts, measure_start(node, SYSTEM, name, "", _HEALTH)))


def _images(node: Node) -> set[str]:
    """Return the images of the replicas that serve."""
    return {each["spec"]["containers"][0]["image"] for each in webhook_pods(node)}
