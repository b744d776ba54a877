"""The kubelet replaces a pod's token before it expires, and the pod exchanges the new one: nine minutes."""

from tests.node.node import Node

_MINUTES = 15


def test_kubelet_replaces_the_token_and_the_new_one_is_exchanged(refreshing_pod: Node) -> None:
    logs = ("logs", "-n", "refresh", "refreshing")
    done = "--for=jsonpath={.status.phase}=Succeeded"
    refreshing_pod.wait_for("wait", done, "pod/refreshing", "-n", "refresh", seconds=_MINUTES * 60)
    first, second = (line.split() for line in refreshing_pod.kubectl(*logs).splitlines())
    assert first[3:] == second[3:] == ["hello", "from", "the", "vault"]
    (first_id, issued, expires), (second_id, issued_again, _) = first[:3], second[:3]
    assert first_id != second_id
    assert int(expires) - int(issued) == 600
    # Four fifths of the lifetime, less the jitter; in time for a client that still uses the first one.
    assert 450 <= int(issued_again) - int(issued) < 600
