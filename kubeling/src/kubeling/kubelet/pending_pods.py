"""The pods that wait for a node, in fair queues: one namespace with thousands of pods delays no other.

Pure. Each operation costs at most one step per waiting namespace, whatever the number of pods.
"""

from collections.abc import Collection, Mapping
from typing import Any

Pod = Mapping[str, Any]


class PendingPods:
    """Pods by namespace, each namespace in its order of arrival."""

    def __init__(self) -> None:
        self._queues: dict[str, dict[str, Pod]] = {}
        self._namespaces: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._namespaces)

    def __contains__(self, uid: str) -> bool:
        return uid in self._namespaces

    def put(self, pod: Pod) -> None:
        """Add a pod, or replace its older version in place."""
        uid, namespace = pod["metadata"]["uid"], pod["metadata"]["namespace"]
        self._namespaces[uid] = namespace
        self._queues.setdefault(namespace, {})[uid] = pod

    def remove(self, uid: str) -> None:
        namespace = self._namespaces.pop(uid, None)
        if namespace is not None:
            queue = self._queues[namespace]
            del queue[uid]
            if not queue:
                del self._queues[namespace]

    def pop(self, used: Mapping[str, int], excluded: Collection[str] = ()) -> Pod | None:
        """Pop the first pod of the namespace with the smallest use; None if there is no pod.

        `used` is a number per namespace; among equals, the namespace that was served longest ago.
        """
        candidates = (name for name in self._queues if name not in excluded)
        namespace = min(candidates, key=lambda name: used.get(name, 0), default=None)
        if namespace is None:
            return None
        queue = self._queues.pop(namespace)
        uid = next(iter(queue))
        pod = queue.pop(uid)
        del self._namespaces[uid]
        if queue:
            self._queues[namespace] = queue  # now the last one
        return pod


HostPort = tuple[str, str, int]
"""Address, protocol and number of a port of the node."""


def host_ports(pod: Pod) -> frozenset[HostPort]:
    """Return the ports of the node that a pod requests."""
    return frozenset(
        (port.get("hostIP") or "", port.get("protocol") or "TCP", port["hostPort"])
        for container in (pod.get("spec") or {}).get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


class NodeCapacity:
    """The pods that occupy the node: admitted ones, and those whose binding is not observed yet.

    A pod counts until it has ended or is deleted, as in kube-scheduler.
    """

    def __init__(self, max_pods: int) -> None:
        self.max_pods = max_pods
        self._admitted: dict[str, str] = {}
        self._reserved: dict[str, str] = {}
        self._used: dict[str, int] = {}
        self._host_ports: dict[str, frozenset[HostPort]] = {}

    @property
    def used(self) -> Mapping[str, int]:
        """Return the number of pods of each namespace that has any."""
        return self._used

    @property
    def count(self) -> int:
        return len(self._admitted) + len(self._reserved)

    @property
    def is_full(self) -> bool:
        return self.count >= self.max_pods

    def reserve(self, pod: Pod) -> None:
        """Count a pod that is being bound."""
        self._add(self._reserved, pod)

    def admit(self, pod: Pod) -> bool:
        """Count a pod that is bound to the node; return False if the node is full.

        A pod that another kubelet has started, before a restart, keeps its place.
        """
        uid = pod["metadata"]["uid"]
        if uid in self._admitted:
            return True
        is_known = uid in self._reserved or bool((pod.get("status") or {}).get("startTime"))
        if not is_known and (self.is_full or self.used_ports(pod)):
            return False
        self.release(uid)
        self._add(self._admitted, pod)
        self._host_ports[uid] = host_ports(pod)
        return True

    def used_ports(self, pod: Pod) -> frozenset[HostPort]:
        """Return the host ports of a pod that another pod of the node uses."""
        wanted = host_ports(pod)
        if not wanted:
            return wanted
        others = (ports for uid, ports in self._host_ports.items() if uid != pod["metadata"]["uid"])
        return wanted & frozenset().union(*others)

    def release(self, uid: str) -> bool:
        """Stop counting a pod; return whether it was counted."""
        self._host_ports.pop(uid, None)
        return self._remove(self._admitted, uid) or self._remove(self._reserved, uid)

    def cancel(self, uid: str) -> None:
        """Stop counting a pod that could not be bound."""
        self._remove(self._reserved, uid)

    def _add(self, places: dict[str, str], pod: Pod) -> None:
        namespace = places[pod["metadata"]["uid"]] = pod["metadata"]["namespace"]
        self._used[namespace] = self._used.get(namespace, 0) + 1

    def _remove(self, places: dict[str, str], uid: str) -> bool:
        namespace = places.pop(uid, None)
        if namespace is None:
            return False
        self._used[namespace] -= 1
        if not self._used[namespace]:
            del self._used[namespace]
        return True
