"""The last test of the node: all containers die at once, and the cluster starts again."""

from tests.node.conftest import SYSTEM
from tests.node.node import Node
from tests.node.objects import create_namespace, deployment, is_mutated
from tests.node.test_rollout import DEPLOYMENT

_SECONDS = 600


def test_cluster_starts_again_after_the_node_restarts(webhook: Node) -> None:
    """The webhook must not need itself, and new pods get their identity."""
    create_namespace(webhook, "restarted")
    webhook.apply(deployment("few", "restarted"))
    webhook.kubectl("scale", "-n", "restarted", "deployment/few", "--replicas=3")
    few = ("rollout", "status", "-n", "restarted", "deployment/few")
    webhook.wait_for(*few)
    webhook.reboot()
    webhook.wait_for("rollout", "status", "-n", SYSTEM, DEPLOYMENT, seconds=_SECONDS)
    webhook.wait_for(*few, seconds=_SECONDS)
    webhook.kubectl("rollout", "restart", "-n", "restarted", "deployment/few")
    webhook.wait_for(*few, seconds=_SECONDS)
    pods = webhook.get("pods", "-n", "restarted")["items"]
    assert all(is_mutated(each) for each in pods)
    webhook.kubectl("delete", "namespace", "restarted", "--wait=false")
