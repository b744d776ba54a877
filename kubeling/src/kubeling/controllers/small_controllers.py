"""Controllers of one object at a time, such as definitions, disruption budgets, APIServices and quotas.

Each function returns the requeue delay in seconds; None for no requeue.
"""

from typing import Any

from kubeling.apiserver.admission import resource_quota, service_resolver
from kubeling.apiserver.admission.webhook_response import WebhookFailed
from kubeling.apiserver.customresources import definitions
from kubeling.apiserver.customresources.definitions import CLEANUP
from kubeling.apiserver.customresources.served_kinds import DEFINITION
from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.registry import eviction
from kubeling.apiserver.registry.eviction import PodCounts
from kubeling.apiserver.storage.fairness import CooperativeYield
from kubeling.apiserver.storage.storage import Object
from kubeling.clock import rfc3339
from kubeling.controllers.client import ControllerClient
from kubeling.controllers.controller_ref import selector_matches
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_info import PodInfo, controller, seconds

_BUDGET = kind_by_name("PodDisruptionBudget")
# A pod that still exists after this time counts as not evicted.
_DISRUPTION_SECONDS = 120.0
_SCALED_KINDS = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")


class DisruptionController:
    """Reconciles the status of PodDisruptionBudgets."""

    def __init__(self, lister: Lister, client: ControllerClient) -> None:
        self._lister, self._client = lister, client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Count the pods of a budget; return the requeue delay."""
        budget = self._client.store.get(_BUDGET, namespace, name)
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
        await self._client.write_status(_BUDGET.kind, budget, status)
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


class CustomResourceDefinitionController:
    """Reconciles CustomResourceDefinitions."""

    def __init__(self, client: ControllerClient) -> None:
        self._client, self._store = client, client.store

    async def reconcile(self, _: str, name: str) -> None:
        """Set the conditions of a definition, or delete the objects of a deleted definition."""
        definition = self._store.get(DEFINITION, "", name)
        if definition is None:
            return
        if definition["metadata"].get("deletionTimestamp"):
            if CLEANUP in (definition["metadata"].get("finalizers") or ()):
                await self._empty(definition)
            return
        others = [
            entry.object() for entry in self._store.list_stored(DEFINITION) if entry.name != name
        ]
        made = definitions.accept_names(definition, others, self._client.now)
        await self._client.write_status(DEFINITION.key, definition, made["status"])

    async def _empty(self, definition: Object) -> None:
        """Delete the objects of a definition; remove its finalizer when no object is left."""
        kind = self._client.kinds.by_key(definition["metadata"]["name"])
        if kind is not None:
            await self._delete_objects(kind)
            if self._store.list_stored(kind):  # an object has a finalizer of its own
                made = {**definition, "status": dict(definition.get("status") or {})}
                definitions.set_condition(made, definitions.IN_PROGRESS, self._client.now)
                await self._client.write_status(DEFINITION.key, definition, made["status"])
                return
        finalizers = definition["metadata"]["finalizers"]
        metadata = {
            **definition["metadata"],
            "finalizers": [each for each in finalizers if each != CLEANUP],
        }
        await self._client.update(DEFINITION.key, {**definition, "metadata": metadata})
        self._store.watch_cache.wake(definition["metadata"]["name"])

    async def _delete_objects(self, kind: Kind) -> None:
        fairness = CooperativeYield()
        for entry in self._store.list_stored(kind):
            await fairness.yield_if_due()
            metadata = entry.object()["metadata"]
            if not metadata.get("deletionTimestamp"):
                await self._client.delete(kind.key, entry.namespace, entry.name, metadata["uid"])


# Endpoints change without a change of the APIService.
_AVAILABILITY_PERIOD_SECONDS = 2.0
_EVENT_TTL_SECONDS = 3600
_EVENT_PERIOD_SECONDS = 60.0


async def check_api_service(client: ControllerClient, _: str, name: str) -> float | None:
    """Report whether the Service of an APIService can be reached."""
    found = client.store.get(kind_by_name("APIService"), "", name)
    if found is None:
        return None
    status = found.get("status") or {}
    conditions = status.get("conditions") or []
    before: dict[str, Any] = next((each for each in conditions if each["type"] == "Available"), {})
    available, reason, message = _availability(client, found["spec"].get("service"))
    wanted = {"status": available, "reason": reason, "message": message}
    if wanted != {key: before.get(key) for key in wanted}:
        changed = before.get("status") != available
        time = rfc3339(client.now) if changed else before["lastTransitionTime"]
        others = [each for each in conditions if each is not before]
        made = {"type": "Available", "lastTransitionTime": time, **wanted}
        status = {**status, "conditions": [*others, made]}
        await client.write_status("APIService", found, status)
    return _AVAILABILITY_PERIOD_SECONDS


def _availability(client: ControllerClient, service: Any) -> tuple[str, str, str]:
    """Return the status, the reason and the message of the condition."""
    if not service:
        return "True", "Local", "Local APIServices are always available"
    namespace, name, port = service["namespace"], service["name"], service.get("port", 443)
    if client.store.get(kind_by_name("Service"), namespace, name) is None:
        return "False", "ServiceNotFound", f'service "{namespace}/{name}" is not present'
    try:
        service_resolver.resolve(client.store, namespace, name, port)
    except WebhookFailed as exc:
        return "False", "MissingEndpoints", exc.message
    return "True", "Passed", "all checks passed"


async def taint_node(client: ControllerClient, _: str, name: str) -> None:
    """Set the taints that follow from the Ready condition of a node, so that no pod is scheduled on it."""
    node = client.store.get(kind_by_name("Node"), "", name)
    if node is None:
        return
    spec, taints = node.get("spec") or {}, defaults.node_taints(node)
    if taints != (spec.get("taints") or []):
        others = {part: value for part, value in spec.items() if part != "taints"}
        changed = {**node, "spec": others | ({"taints": taints} if taints else {})}
        await client.update("Node", changed)


async def count_quota(client: ControllerClient, namespace: str, name: str) -> None:
    """Write the usage of a namespace into the status of a ResourceQuota."""
    quota = client.store.get(kind_by_name("ResourceQuota"), namespace, name)
    if quota is None:
        return
    status = resource_quota.status(client.store, client.kinds.stored(), quota)
    await client.write_status("ResourceQuota", quota, status)


async def bind_claim(client: ControllerClient, namespace: str, name: str) -> None:
    """Bind a PersistentVolumeClaim: nothing is provisioned, the kubelet has a folder for it.

    The first change is the name of the volume, the second is the status.
    """
    claim = client.store.get(kind_by_name("PersistentVolumeClaim"), namespace, name)
    if claim is None or (claim.get("status") or {}).get("phase") == "Bound":
        return
    spec = claim["spec"]
    if not spec.get("volumeName"):
        # The name that a provisioner gives to a volume; without one, `kubectl get` shows an unbound claim.
        volume = {"volumeName": f"pvc-{claim['metadata']['uid']}"}
        await client.update("PersistentVolumeClaim", {**claim, "spec": {**spec, **volume}})
        return
    capacity = (spec.get("resources") or {}).get("requests") or {}
    status = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": capacity}
    await client.write_status("PersistentVolumeClaim", claim, status)


async def delete_old_events(client: ControllerClient, _: str, __: str) -> float:
    """Delete events that have not changed for an hour."""
    kind, limit = kind_by_name("Event"), rfc3339(client.now - _EVENT_TTL_SECONDS)
    for entry in client.store.list_stored(kind):
        event = entry.object()
        times = (event.get("lastTimestamp"), event.get("eventTime"))
        last = max(event["metadata"]["creationTimestamp"], *(time or "" for time in times))
        if last < limit:
            # In Kubernetes etcd removes an expired event: no webhook is called.
            client.store.delete(kind, event, entry.revision)
    return _EVENT_PERIOD_SECONDS
