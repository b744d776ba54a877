"""The last test of the node: all containers die at once, and the cluster starts again."""

from typing import Any

from tests.node.conftest import webhook_pods
from tests.node.node import Node
from tests.node.objects import create_namespace, deployment, is_mutated
from tests.node.sandbox import wait_until

_SECONDS = 600


def test_cluster_starts_again_after_the_node_restarts(webhook: Node) -> None:
    """The webhook must not need itself, and new pods get their identity."""
    create_namespace(webhook, "restarted")
    webhook.apply(deployment("few", "restarted"))
    webhook.kubectl("scale", "-n", "restarted", "deployment/few", "--replicas=3")
    few = ("rollout", "status", "-n", "restarted", "deployment/few")
    webhook.wait_for(*few)
    webhook.reboot()
    wait_until(lambda: _have_restarted(webhook_pods(webhook)), _SECONDS, "the webhook serves again")
    few_pods = ("pods", "-n", "restarted")
    wait_until(lambda: _have_restarted(webhook.get(*few_pods)["items"]), _SECONDS, "the other pods")
    webhook.kubectl("rollout", "restart", "-n", "restarted", "deployment/few")
    webhook.wait_for(*few, seconds=_SECONDS)
    pods = webhook.get(*few_pods)["items"]
    assert len(pods) >= 3
    assert all(is_mutated(each) for each in pods)
    webhook.kubectl("delete", "namespace", "restarted", "--wait=false")


def _have_restarted(pods: list[Any]) -> bool:
    """Return whether all containers have been started again; until then, the API server has old statuses."""
    statuses = [status for each in pods for status in each["status"]["containerStatuses"]]
    return bool(statuses) and all(status["ready"] and status["restartCount"] for status in statuses)
