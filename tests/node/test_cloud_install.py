"""`podpass cloud install` on a real node: mistakes change nothing half, all namespaces, memory."""

from collections.abc import Iterator

import pytest

from tests.node.cloud_installation import COREFILE, IMAGE, run_podpass
from tests.node.container_facts import read_facts
from tests.node.node import Node
from tests.node.objects import container, pod
from tests.node.sandbox import SandboxError

_MOST_MB = 120
_MISSING_IMAGE = "registry.invalid/podpass:9"


@pytest.fixture(scope="module")
def cluster(webhook: Node) -> Iterator[Node]:
    """Provide a cluster without an installation; remove what a test has left."""
    webhook.kubectl("create", "namespace", "unlabelled")
    webhook.kubectl("create", "serviceaccount", "web", "-n", "unlabelled")
    yield webhook
    run_podpass(webhook, "uninstall", "--yes")


def _refusal(node: Node, *arguments: str) -> str:
    with pytest.raises(SandboxError) as caught:
        run_podpass(node, *arguments)
    return str(caught.value)


def _create_pod(node: Node, name: str) -> list[str]:
    """Create a pod that runs nowhere in a namespace without the label; return the names of its volumes."""
    node.apply(pod(name, "unlabelled", container(()), schedulerName="nobody"))
    volumes = node.get("pod", name, "-n", "unlabelled")["spec"]["volumes"]
    return [each["name"] for each in volumes]


def test_image_that_cannot_be_pulled_is_named_and_stops_no_other_pod(cluster: Node) -> None:
    before = cluster.kubectl(*COREFILE)
    arguments = ("--all-namespaces", "--image", _MISSING_IMAGE, "--timeout", "240")
    message = _refusal(cluster, "install", *arguments)
    assert "the image cannot be pulled" in message
    assert _MISSING_IMAGE in message
    assert "kind load" in message
    assert cluster.kubectl(*COREFILE) == before
    assert not any("podpass-cloud" in name for name in _create_pod(cluster, "before"))


def test_all_namespaces_are_selected_when_the_cloud_is_ready(cluster: Node) -> None:
    """The command also continues the installation that failed in an earlier test."""
    run_podpass(cluster, "install", "--all-namespaces", "--image", IMAGE, "--timeout", "280")
    assert any("podpass-cloud" in name for name in _create_pod(cluster, "after"))
    assert "; 0 changes" in run_podpass(cluster, "install", "--all-namespaces")


def test_pod_uses_less_than_120_mb_after_five_resets(cluster: Node) -> None:
    for _ in range(5):
        run_podpass(cluster, "reset")
    (pod_,) = cluster.get("pods", "-n", "podpass-cloud")["items"]
    facts = read_facts(cluster, "podpass-cloud", pod_["metadata"]["name"])
    print(f"{facts.memory_mib:.1f} MiB")
    assert facts.memory_mib * 1.048576 < _MOST_MB


def test_edited_block_in_the_corefile_is_refused_by_install_and_uninstall(cluster: Node) -> None:
    original = cluster.kubectl(*COREFILE)
    edited = original.replace("forward . ", "forward . 192.0.2.1 ", 1)
    assert edited != original
    _write_corefile(cluster, edited)
    try:
        for arguments in (("install", "--all-namespaces"), ("uninstall", "--yes")):
            message = _refusal(cluster, *arguments)
            assert "Corefile" in message
            assert cluster.kubectl(*COREFILE) == edited
        assert cluster.get("deployment", "podpass-cloud", "-n", "podpass-cloud")
    finally:
        _write_corefile(cluster, original)


def _write_corefile(node: Node, text: str) -> None:
    found = node.get("configmap", "coredns", "-n", "kube-system")
    found["data"]["Corefile"] = text
    node.apply(found)
