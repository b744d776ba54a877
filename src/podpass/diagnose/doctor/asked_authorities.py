"""Find in the log of an instance whether a pod asked another authority than the one it was given. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from podpass.diagnose.doctor.model import AskedAuthority, ClusterFacts
from podpass.diagnose.doctor.pods import find_stopped
from podpass.diagnose.trace.assignment import AssignedHop
from podpass.diagnose.trace.hop import Hop, HopResult
from podpass.log import AUTHORITY_NOT_SERVED

# The source of each pod that has no network of its own.
_SHARED = "127.0.0.1"


class AskedAuthorities:
    """The hosts that clients asked the gateway for, and the pods that have exchanged a token."""

    def __init__(self, found: Iterable[AssignedHop]) -> None:
        self._asked: list[Hop] = []
        self._unexplained: list[Hop] = []
        self._exchanged: set[tuple[str, str]] = set()
        for each in found:
            if each.hop.event == AUTHORITY_NOT_SERVED:
                self._asked.append(each.hop)
                # The variable of a container explains the hop if a pod is known.
                if not each.workload.account:
                    self._unexplained.append(each.hop)
            elif each.hop.stage == "exchange" and each.hop.result is HopResult.PASSED:
                self._exchanged.add((each.workload.namespace, each.workload.pod))

    def find(self, cluster: ClusterFacts) -> AskedAuthority | None:
        """Return the last other authority that a pod asked; None if none is known.

        Pods without their own network share a source address. For such a pod, a hop counts only if a
        container of the pod does not run, no exchange of the pod is known, and the hop is newer than the pod.
        """
        pod = cluster.pod
        if not cluster.pod_name or not isinstance(pod, Mapping):
            return None
        status: Mapping[str, Any] = pod.get("status") or {}
        # Not the start in the status: the kubelet writes it late under load, after the program has asked.
        created = str((pod.get("metadata") or {}).get("creationTimestamp") or "")
        address = str(status.get("podIP") or "")
        own = [each for each in self._asked if each.fact("source") == address]
        is_failing = find_stopped(dict(pod), cluster.now) is not None
        has_exchanged = (cluster.namespace_name, cluster.pod_name) in self._exchanged
        if not own and address.startswith("127.") and is_failing and not has_exchanged and created:
            # Other addresses are those of pods with networks of their own.
            shared = (each for each in self._unexplained if each.fact("source") == _SHARED)
            # Both times are RFC 3339 in UTC; that of the pod has whole seconds.
            own = [each for each in shared if each.time[:19] >= created[:19]]
        if not own:
            return None
        return AskedAuthority(own[-1].fact("source"), own[-1].cause, own[-1].fact("fix"))
