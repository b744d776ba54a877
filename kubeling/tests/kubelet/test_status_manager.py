"""The status of a pod is sent before the pod is deleted."""

import dataclasses
from typing import Any

from kubeling.api import Api
from kubeling.kubelet.status_manager import StatusManager
from tests.kubelet.cluster import PODS, KubeletCluster


class _ClientWithChange:
    """A client that queues another status, and the deletion, while the first status is sent."""

    def __init__(self, client: Api) -> None:
        self._client = client
        self.manager: StatusManager | None = None
        self.phases: list[str] = []

    async def patch(self, path: str, body: Any) -> Any:
        if self.manager and not self.phases:
            self.manager.set_status({"phase": "Failed"})
            self.manager.delete_pod()
        self.phases.append(body["status"]["phase"])
        return await self._client.patch(path, body)

    async def delete(self, path: str, options: Any) -> None:
        self.phases.append("deleted")
        await self._client.delete(path, options)


async def test_last_status_is_sent_before_the_pod_is_deleted(cluster: KubeletCluster) -> None:
    assert cluster.kubelet is not None
    pod = await cluster.run("p", {"name": "c", "image": "i"}, schedulerName="none")
    client = _ClientWithChange(cluster.client)
    pods: Any = cluster.kubelet._pods
    context = dataclasses.replace(pods._context, client=client)
    manager = client.manager = StatusManager(context, pod, lambda: None)
    manager.set_status({"phase": "Running"})
    await manager.run()
    assert client.phases == ["Running", "Failed", "deleted"]
    assert await cluster.client.list(PODS) == []
