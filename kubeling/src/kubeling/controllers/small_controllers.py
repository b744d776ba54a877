"""Controllers of one object at a time: APIServices, nodes, quotas, claims, and the deletion of old events.

Each returns the requeue delay in seconds; None for no requeue.
"""

from typing import Any

from kubeling.apiserver.admission import resource_quota, service_resolver
from kubeling.apiserver.admission.webhook_response import WebhookFailed
from kubeling.apiserver.defaulting import defaults
from kubeling.apiserver.kinds import kind_by_name
from kubeling.clock import rfc3339
from kubeling.controllers.client import ControllerClient

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
