"""ResourceQuota controller: recalculate the usage of a namespace after a change of its objects."""

from kubeling.apiserver.admission import resource_quota
from kubeling.apiserver.kinds import kind_by_name
from kubeling.controllers.client import ControllerClient

_KIND = kind_by_name("ResourceQuota")


class ResourceQuotaController:
    """Reconciles the status of ResourceQuotas."""

    def __init__(self, client: ControllerClient) -> None:
        self._client = client

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Write the usage of a quota into its status; return no requeue delay."""
        quota = self._client.store.get(_KIND, namespace, name)
        if quota is None:
            return None
        stored = self._client.kinds.stored()
        status = resource_quota.status(self._client.store, stored, quota)
        if status != (quota.get("status") or {}):
            await self._client.update(_KIND.kind, {**quota, "status": status}, part="status")
        return None
