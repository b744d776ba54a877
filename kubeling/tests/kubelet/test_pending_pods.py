"""Fair queues of pods, and the places of a node."""

from typing import Any

from kubeling.kubelet.pending_pods import NodeCapacity, PendingPods


def pod(namespace: str, uid: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "uid": uid}, "status": status}


def popped(queue: PendingPods, used: dict[str, int], *excluded: str) -> str:
    found = queue.pop(used, excluded)
    return "" if found is None else str(found["metadata"]["uid"])


def test_namespaces_are_scheduled_round_robin() -> None:
    queue = PendingPods()
    for number in range(1000):
        queue.put(pod("large", f"large-{number}"))
    queue.put(pod("small", "small-0"))
    queue.put(pod("other", "other-0"))
    assert [popped(queue, {}) for _ in range(4)] == ["large-0", "small-0", "other-0", "large-1"]


def test_namespace_with_the_fewest_pods_on_the_node_is_next() -> None:
    queue = PendingPods()
    for uid in ("a-0", "a-1"):
        queue.put(pod("a", uid))
    queue.put(pod("b", "b-0"))
    assert popped(queue, {"a": 3, "b": 4}) == "a-0"
    assert popped(queue, {"a": 5, "b": 4}) == "b-0"
    assert popped(queue, {"a": 5}, "a") == ""
    assert popped(queue, {"a": 5}) == "a-1"
    assert len(queue) == 0


def test_removed_pod_is_not_popped_and_a_newer_version_keeps_its_place() -> None:
    queue = PendingPods()
    for uid in ("a-0", "a-1", "a-2"):
        queue.put(pod("a", uid))
    queue.put(pod("a", "a-0", phase="Pending"))
    queue.remove("a-1")
    queue.remove("unknown")
    first = queue.pop({})
    assert first is not None
    assert first["status"] == {"phase": "Pending"}
    assert popped(queue, {}) == "a-2"


def test_pod_occupies_one_place_from_its_binding_until_its_end() -> None:
    capacity = NodeCapacity(2)
    capacity.reserve(pod("a", "1"))
    assert capacity.admit(pod("a", "1"))
    assert capacity.admit(pod("b", "2"))
    assert (capacity.is_full, capacity.used) == (True, {"a": 1, "b": 1})
    capacity.cancel("1")
    assert capacity.count == 2, "a pod that was admitted is not counted twice"
    assert not capacity.admit(pod("c", "3"))
    assert capacity.release("2")
    assert not capacity.release("2")
    assert capacity.admit(pod("c", "3"))
    assert capacity.used == {"a": 1, "c": 1}


def test_pod_that_ran_before_a_restart_of_the_kubelet_is_admitted() -> None:
    capacity = NodeCapacity(0)
    assert not capacity.admit(pod("a", "1"))
    assert capacity.admit(pod("a", "1", startTime="2026-01-01T00:00:00Z"))
