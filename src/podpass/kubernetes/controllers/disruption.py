"""Disruption budgets: counts, for each budget, the pods it is about and how many of them may go now."""

from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.registry import eviction
from podpass.kubernetes.apiserver.registry.eviction import Counts
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers.client import Writer
from podpass.kubernetes.controllers.controller_ref import finds
from podpass.kubernetes.controllers.lister import View
from podpass.kubernetes.controllers.pod_info import PodFact, controller, seconds

_KIND = named("PodDisruptionBudget")
# An evicted pod that is still there after so long was not deleted after all.
_DISRUPTION_SECONDS = 120.0
_SIZED = ("Deployment", "ReplicaSet", "StatefulSet")


class Budgets:
    """Keeps the status of disruption budgets."""

    def __init__(self, view: View, writer: Writer) -> None:
        self._view, self._writer = view, writer

    async def look(self, namespace: str, name: str) -> float | None:
        """Count the pods of a budget; say when to look again.

        Errors:  StatusError.
        """
        budget = self._writer.store.get(_KIND, namespace, name)
        if budget is None:
            return None
        selector, now = budget["spec"].get("selector"), self._writer.now
        # Unlike elsewhere, a selector that says nothing finds every pod of the namespace.
        found = (
            finds(selector) if any((selector or {}).values()) else lambda _: selector is not None
        )
        pods = [pod for pod in self._view.pods(namespace) if found(pod.labels) and not pod.ended]
        disrupted, wait = self._disrupted(budget, pods)
        healthy = [
            pod for pod in pods if pod.ready and not pod.deleting and pod.name not in disrupted
        ]
        wanted = eviction.desired(budget["spec"], len(pods), self._expected(pods))
        counts = Counts(wanted.expected, len(healthy), wanted.desired)
        status = eviction.status(budget, counts, disrupted, now)
        if status != budget.get("status"):
            await self._writer.update(_KIND.kind, {**budget, "status": status}, part="status")
        return wait

    def _disrupted(
        self, budget: Object, pods: list[PodFact]
    ) -> tuple[dict[str, str], float | None]:
        """Keep in mind who was let go and is still there, and say until when."""
        noted = (budget.get("status") or {}).get("disruptedPods") or {}
        there = {pod.name for pod in pods if not pod.deleting}
        now = self._writer.now
        kept = {
            name: moment
            for name, moment in noted.items()
            if name in there and seconds(moment) + _DISRUPTION_SECONDS > now
        }
        waits = [seconds(moment) + _DISRUPTION_SECONDS - now for moment in kept.values()]
        return kept, min(waits, default=None)

    def _expected(self, pods: list[PodFact]) -> int:
        """Sum up how many pods their owners want; one that nobody owns counts for itself."""
        owners = {pod.controller for pod in pods if pod.controller}
        sized: dict[str, int] = {}
        for uid in owners:
            top = self._sized_owner(uid)
            if top is not None:
                sized[top["metadata"]["uid"]] = top["spec"].get("replicas") or 0
        return sum(sized.values()) + sum(not pod.controller for pod in pods)

    def _sized_owner(self, uid: str) -> Object | None:
        """Climb from a pod's owner to the one that says how many there shall be."""
        found: Object | None = None
        while uid and (place := self._view.place(uid)) is not None and place[0] in _SIZED:
            found = self._writer.store.get(named(place[0]), place[1], place[2])
            if found is None:
                return None
            uid = controller(found["metadata"]).get("uid", "")
        return found
