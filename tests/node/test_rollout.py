"""The webhook while its replicas are replaced, evicted or killed."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.node.conftest import SYSTEM, webhook_pods
from tests.node.creators import creating_pods
from tests.node.node import Node
from tests.node.objects import create_namespace, deployment, is_mutated
from tests.node.sandbox import wait_until

DEPLOYMENT = "deployment/azure-wi-webhook-controller-manager"
REPLICAS = 200
_SECONDS = 600


def _replace_pods(node: Node) -> None:
    node.kubectl("rollout", "restart", "-n", SYSTEM, DEPLOYMENT)
    node.wait_for("rollout", "status", "-n", SYSTEM, DEPLOYMENT, seconds=_SECONDS)


def _evict_pods(node: Node) -> None:
    """Evict each replica as `kubectl drain` does: try again while the PodDisruptionBudget forbids it."""
    for name in _running(node):
        about = {"name": name, "namespace": SYSTEM}
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": about}
        path = f"/api/v1/namespaces/{SYSTEM}/pods/{name}/eviction"

        def evicted(path: str = path, body: Any = body) -> bool:
            said = node.kubectl(
                "create", "--raw", path, "-f", "-", given=json.dumps(body), check=False
            )
            assert "Success" in said or "disruption budget" in said, said
            return "Success" in said

        wait_until(evicted, _SECONDS, f"{name} is evicted")
    node.wait_for("rollout", "status", "-n", SYSTEM, DEPLOYMENT, seconds=_SECONDS)


def _running(node: Node) -> list[str]:
    return [each["metadata"]["name"] for each in webhook_pods(node)]


@pytest.mark.parametrize("change", [_replace_pods, _evict_pods], ids=["rolling-update", "drain"])
def test_no_pod_is_refused_or_unmutated_while_replicas_are_replaced(
    webhook: Node, change: Callable[[Node], None], request: pytest.FixtureRequest
) -> None:
    """A Deployment grows to 200 pods, and pods are created directly, where no controller hides a refusal."""
    name = request.node.callspec.id
    create_namespace(webhook, name)
    webhook.apply(deployment("many", name))
    with creating_pods(webhook, name) as created:
        webhook.kubectl("scale", "-n", name, "deployment/many", f"--replicas={REPLICAS}")
        change(webhook)
        wait_until(lambda: len(_of(webhook, name)) == REPLICAS, _SECONDS, f"{REPLICAS} pods")
        pods = _of(webhook, name)
    assert Counter(created()) == {"mutated": len(created())}
    assert [is_mutated(each) for each in pods] == [True] * REPLICAS
    events = webhook.get("events", "-n", name, "--field-selector=reason=FailedCreate")["items"]
    assert [each["message"] for each in events] == []
    webhook.kubectl("delete", "namespace", name, "--wait=false")


def _of(node: Node, namespace: str) -> list[Any]:
    found: list[Any] = node.get("pods", "-n", namespace, "-l", "app=many")["items"]
    return found


def test_killed_replica_is_restarted_and_the_other_one_serves(webhook: Node) -> None:
    create_namespace(webhook, "killed")
    with creating_pods(webhook, "killed") as created:
        (first, *_) = _running(webhook)
        before = len(created())
        webhook.kill_container(SYSTEM, first)
        wait_until(
            lambda: _restarts(webhook, first) == 1, 120, "the kubelet restarts the container"
        )
        wait_until(lambda: len(created()) > before + 20, 120, "pods are created afterwards")
        said = created()
    # Another test of this node requires replicas without a restart.
    _replace_pods(webhook)
    # The reviews that the killed process had received cannot be answered; the API server refuses those pods.
    refused = [line for line in said if line != "mutated"]
    assert "unmutated" not in said
    assert len(refused) <= 2, refused


def _restarts(node: Node, name: str) -> int:
    (status,) = node.get("pod", name, "-n", SYSTEM)["status"]["containerStatuses"]
    return int(status["restartCount"]) if status["ready"] else 0
