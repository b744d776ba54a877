"""The Services whose addresses the kubelet writes into the environment of containers."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kubeling.api import Api
from kubeling.kubelet.environment import Service, api_server_service, service_variables

API_SERVER = ("default", "kubernetes")
ServiceKey = tuple[str, str]
"""Namespace and name."""


class ServiceLister:
    """Watches the Services of the cluster while `run` runs."""

    def __init__(self, client: Api) -> None:
        self._client = client
        self._services: dict[ServiceKey, Service] = {API_SERVER: api_server_service(client.server)}
        self._synced = asyncio.Event()
        # The Services as the API returns them, for the network of Services: `kubernetes` has its cluster IP.
        self.objects: dict[ServiceKey, Service] = {}
        self.on_change: Callable[[ServiceKey], Awaitable[None]] | None = None

    async def run(self) -> None:
        """Handle the watch events of all Services until cancelled."""
        async for kind, service in self._client.watch("/api/v1/services"):
            if kind == "SYNCED":
                self._synced.set()
                continue
            key = service["metadata"]["namespace"], service["metadata"]["name"]
            for services in (self.objects, *([self._services] if key != API_SERVER else [])):
                if kind == "DELETED":
                    services.pop(key, None)
                else:
                    services[key] = service
            if self.on_change is not None:
                await self.on_change(key)

    async def variables(self, pod: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables of the API server, and those of the Services in the namespace of a pod.

        `enableServiceLinks: false` omits the latter. The first call waits for the list of Services.
        """
        await self._synced.wait()
        namespace, links = pod["metadata"]["namespace"], pod["spec"].get("enableServiceLinks", True)
        by_name = {
            key[1]: service
            for key, service in self._services.items()
            if key == API_SERVER or (links and key[0] == namespace)
        }
        return service_variables(by_name.values())
