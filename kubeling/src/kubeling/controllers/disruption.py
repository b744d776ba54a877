"""Disruption controller: count the pods of each PodDisruptionBudget and the allowed disruptions."""

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.registry import eviction
from kubeling.apiserver.registry.eviction import PodCounts
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers.client import ControllerClient
from kubeling.controllers.controller_ref import selector_matches
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_info import PodInfo, controller, seconds

_KIND = kind_by_name("PodDisruptionBudget")
# An evicted pod that still exists after this time was not deleted.
_DISRUPTION_SECONDS = 120.0
_SCALED_KINDS = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")


class DisruptionController:
    """Reconciles the status of PodDisruptionBudgets."""

    def __init__(self, lister: Lister, client: ControllerClient) -> None:
        self._lister, self._client = lister, client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Count the pods of a budget; return the requeue delay."""
        budget = self._client.store.get(_KIND, namespace, name)
        if budget is None:
            return None
        selector, now = budget["spec"].get("selector"), self._client.now
        # Here an empty selector matches every pod of the namespace.
        matches = (
            selector_matches(selector)
            if any((selector or {}).values())
            else lambda _: selector is not None
        )
        pods = [
            pod for pod in self._lister.pods(namespace) if matches(pod.labels) and not pod.ended
        ]
        disrupted, wait = self._disrupted(budget, pods)
        healthy = [
            pod for pod in pods if pod.ready and not pod.deleting and pod.name not in disrupted
        ]
        wanted = eviction.expected_counts(budget["spec"], len(pods), self._expected(pods))
        counts = PodCounts(wanted.expected, len(healthy), wanted.desired)
        status = eviction.budget_status(budget, counts, disrupted, now)
        await self._client.write_status(_KIND.kind, budget, status)
        return wait

    def _disrupted(
        self, budget: Object, pods: list[PodInfo]
    ) -> tuple[dict[str, str], float | None]:
        """Return the evicted pods that still exist, and the seconds until the first entry expires."""
        disrupted = (budget.get("status") or {}).get("disruptedPods") or {}
        present = {pod.name for pod in pods if not pod.deleting}
        now = self._client.now
        remaining = {
            name: moment
            for name, moment in disrupted.items()
            if name in present and seconds(moment) + _DISRUPTION_SECONDS > now
        }
        waits = [seconds(moment) + _DISRUPTION_SECONDS - now for moment in remaining.values()]
        return remaining, min(waits, default=None)

    def _expected(self, pods: list[PodInfo]) -> int:
        """Return the number of expected pods: the replicas of their owners, and each pod without owner."""
        owners = {pod.controller for pod in pods if pod.controller}
        sized: dict[str, int] = {}
        for uid in owners:
            top = self._scaled_owner(uid)
            if top is not None:
                sized[top["metadata"]["uid"]] = top["spec"].get("replicas") or 0
        return sum(sized.values()) + sum(not pod.controller for pod in pods)

    def _scaled_owner(self, uid: str) -> Object | None:
        """Return the topmost owner that has a replica count."""
        found: Object | None = None
        while uid and (key := self._lister.key_of(uid)) is not None and key[0] in _SCALED_KINDS:
            found = self._client.store.get(kind_by_name(key[0]), key[1], key[2])
            if found is None:
                return None
            uid = controller(found["metadata"]).get("uid", "")
        return found
