"""PersistentVolumeClaim controller: report each claim as bound, because the kubelet has a folder for it."""

from kubeling.apiserver.kinds import kind_by_name
from kubeling.controllers.client import ControllerClient

_KIND = kind_by_name("PersistentVolumeClaim")


class VolumeClaimController:
    """Reconciles the status of PersistentVolumeClaims; nothing is provisioned."""

    def __init__(self, client: ControllerClient) -> None:
        self._client = client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Write the phase and the requested capacity; return no requeue delay."""
        claim = self._client.store.get(_KIND, namespace, name)
        if claim is None or (claim.get("status") or {}).get("phase") == "Bound":
            return None
        spec = claim["spec"]
        capacity = (spec.get("resources") or {}).get("requests") or {}
        status = {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": capacity}
        await self._client.update(_KIND.kind, {**claim, "status": status}, part="status")
        return None
