"""The network of Services: pods connect to the cluster IP of a Service, and reach one of its ready endpoints.

The kubelet listens on an address and port only while there is an endpoint, so a connection is refused at once
if there is none. A connection that an endpoint refuses goes to another one.
"""

import asyncio
import logging
import random
import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from kubeling.api import Api
from kubeling.kubelet import node_network, pod_addresses
from kubeling.kubelet.node_network import NodeNetwork
from kubeling.kubelet.pod_network import PodNetwork
from kubeling.kubelet.relay import Relay, Stream
from kubeling.kubelet.service_lister import API_SERVER, ServiceKey, ServiceLister

_log = logging.getLogger(__name__)

Object = Mapping[str, Any]

_SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
_OF_SERVICE = "kubernetes.io/service-name"
_MAX_CONNECTIONS = 4096
_CONNECT_SECONDS = 5.0
_TCP = "TCP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An endpoint of a Service for one of its ports."""

    address: str
    port: int
    ready: bool
    serving: bool
    hostname: str = ""


class ServiceNetwork:
    """The cluster IPs of all Services, in the network of a node; `pods` are its pods by their addresses."""

    def __init__(
        self,
        client: Api,
        services: ServiceLister,
        node: NodeNetwork,
        pods: Mapping[str, PodNetwork],
    ) -> None:
        self._client, self._services, self._node, self._pods = client, services, node, pods
        self._slices: dict[ServiceKey, dict[str, Object]] = {}
        self._listeners: dict[ServiceKey, dict[tuple[str, int, str], asyncio.Server]] = {}
        self._relay = Relay(_MAX_CONNECTIONS)
        self._lock = asyncio.Lock()
        services.on_change = self._sync

    async def run(self) -> None:
        """Handle the watch events of all EndpointSlices until cancelled."""
        try:
            async for kind, found in self._client.watch(_SLICES):
                if kind == "SYNCED":
                    continue
                metadata = found["metadata"]
                key = metadata["namespace"], (metadata.get("labels") or {}).get(_OF_SERVICE, "")
                slices = self._slices.setdefault(key, {})
                if kind == "DELETED":
                    slices.pop(metadata["name"], None)
                else:
                    slices[metadata["name"]] = found
                await self._sync(key)
        finally:
            await self._relay.close()

    def service(self, key: ServiceKey) -> Object | None:
        """Return a Service."""
        return self._services.objects.get(key)

    def services(self) -> Iterator[tuple[ServiceKey, Object]]:
        """Return all Services."""
        yield from self._services.objects.items()

    def endpoints(self, key: ServiceKey, port_name: str | None = None) -> Iterator[Endpoint]:
        """Yield the endpoints of a port of a Service; without a name, those of all its ports."""
        if key == API_SERVER and not self._slices.get(key):
            server = urlsplit(self._client.server)
            number = server.port or 443
            yield Endpoint(
                address=server.hostname or "127.0.0.1", port=number, ready=True, serving=True
            )
        for each in [*self._slices.get(key, {}).values()]:
            for port in each.get("ports") or [{}]:
                if port_name is not None and (port.get("name") or "") != port_name:
                    continue
                for endpoint in each.get("endpoints") or ():
                    conditions = endpoint.get("conditions") or {}
                    ready = conditions.get("ready") is not False
                    yield Endpoint(
                        address=endpoint["addresses"][0],
                        port=port.get("port") or 0,
                        ready=ready,
                        serving=conditions.get("serving", ready) is not False,
                        hostname=endpoint.get("hostname") or "",
                    )

    def usable(self, key: ServiceKey, port_name: str | None = None) -> list[Endpoint]:
        """Return the ready endpoints; if there are none, the terminating endpoints that still serve."""
        found = [*self.endpoints(key, port_name)]
        return [each for each in found if each.ready] or [each for each in found if each.serving]

    async def _sync(self, key: ServiceKey) -> None:
        """Open and close the sockets of a Service; one invalid object must not end the others."""
        try:
            await self._open_and_close(key)
        except Exception:  # noqa: BLE001 see the docstring
            facts = {"namespace": key[0], "service": key[1]}
            _log.exception("service_network_failed", extra=facts)

    async def _open_and_close(self, key: ServiceKey) -> None:
        async with self._lock:
            wanted = {*self._wanted(key)}
            listeners = self._listeners.setdefault(key, {})
            for listener in listeners.keys() - wanted:
                listeners.pop(listener).close()
            for listener in wanted - listeners.keys():
                address, port, name = listener
                try:
                    sock = self._node.open_socket(bind=(address, port))
                except OSError as exc:
                    # Other ports and Services work without this port; the next change of the Service retries.
                    facts = {"namespace": key[0], "service": key[1], "port": port}
                    _log.warning("service_port_unavailable", extra={**facts, "cause": exc.strerror})
                    continue
                connect = partial(self._connect, key, name)
                listeners[listener] = await self._relay.serve(sock, connect)
            await self._expose(self.endpoints(key))

    async def expose_pod(self, address: str) -> None:
        """Expose the ports of a pod whose endpoints are older than its network, as after a restart."""
        every = [endpoint for key in self._slices for endpoint in self.endpoints(key)]
        await self._expose(each for each in every if each.address == address)

    async def _expose(self, endpoints: Iterable[Endpoint]) -> None:
        """Let the machine connect to endpoints in pods: the API server calls webhooks there."""
        for endpoint in endpoints:
            if endpoint.port and (pod := self._pods.get(endpoint.address)):
                await pod.expose(endpoint.port)

    def _wanted(self, key: ServiceKey) -> Iterator[tuple[str, int, str]]:
        """Yield the address, port and port name of each socket that a Service should have now."""
        spec = (self.service(key) or {}).get("spec") or {}
        address = spec.get("clusterIP") or ""
        if not node_network.is_service_address(address):
            return
        for port in spec.get("ports") or ():
            name = port.get("name") or ""
            if port.get("protocol", _TCP) == _TCP and self.usable(key, name):
                yield address, int(port["port"]), name

    async def _connect(self, key: ServiceKey, port_name: str, accepted: socket.socket) -> Stream:
        """Connect to an endpoint; try the others if it refuses."""
        error = OSError("there is no endpoint")
        for endpoint in self._order(key, self.usable(key, port_name), accepted):
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await self._open(endpoint)
            except OSError as exc:
                error = exc
        raise error

    def _order(
        self, key: ServiceKey, endpoints: Sequence[Endpoint], accepted: socket.socket
    ) -> Sequence[Endpoint]:
        spec = (self.service(key) or {}).get("spec") or {}
        if spec.get("sessionAffinity") != "ClientIP" or not endpoints:
            return random.sample(endpoints, len(endpoints))
        ordered = sorted(endpoints, key=lambda each: each.address)
        first = zlib.crc32(accepted.getpeername()[0].encode()) % len(ordered)
        return [*ordered[first:], *ordered[:first]]

    async def _open(self, endpoint: Endpoint) -> Stream:
        if ip_address(endpoint.address) in pod_addresses.NETWORK:
            sock = self._node.open_socket()
            return await node_network.connect(sock, endpoint.address, endpoint.port)
        # The API server, a pod in the network of the machine, or an address of the user's EndpointSlice.
        return await asyncio.open_connection(endpoint.address, endpoint.port)
