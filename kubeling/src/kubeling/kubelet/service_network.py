"""The network of Services: pods connect to the cluster IP of a Service, and reach one of its ready endpoints.

The kubelet listens on an address and port only while there is an endpoint, so a connection is refused at once
if there is none. A connection that an endpoint refuses goes to another one.
"""

import asyncio
import logging
import random
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from kubeling.api import Api
from kubeling.event_recorder import WARNING, EventRecorder, object_reference
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
# Each port is a socket of the kubelet. An EndpointSlice has at most 100 ports too.
_MAX_PORTS, _MAX_SOCKETS = 100, 8192
_MAX_ENDPOINTS = 5000
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
    pod: str = ""


class ServiceNetwork:
    """The cluster IPs of all Services, in the network of a node.

    `pods` are its pods by their addresses. `is_host_port` gets namespace and name of a pod, an address and a
    port, and returns whether this pod in the network of the machine declares the port.
    """

    def __init__(
        self,
        client: Api,
        services: ServiceLister,
        node: NodeNetwork,
        pods: Mapping[str, PodNetwork],
        recorder: EventRecorder,
        is_host_port: Callable[[str, str, str, int], bool],
    ) -> None:
        self._client, self._services, self._node, self._pods = client, services, node, pods
        self._recorder, self._is_host_port = recorder, is_host_port
        self._slices: dict[ServiceKey, dict[str, Object]] = {}
        self._listeners: dict[ServiceKey, dict[tuple[str, int, str], asyncio.Server]] = {}
        self._relay = Relay(_MAX_CONNECTIONS)
        self._lock = asyncio.Lock()
        services.on_change = self._on_service

    async def run(self) -> None:
        """Handle the watch events of all EndpointSlices until cancelled."""
        try:
            async for kind, found in self._client.watch(_SLICES):
                if kind == "SYNCED":
                    continue
                metadata = found["metadata"]
                key = metadata["namespace"], (metadata.get("labels") or {}).get(_OF_SERVICE, "")
                slices = self._slices.setdefault(key, {})
                if found.get("addressType") == "FQDN" and kind == "ADDED":
                    # As in kube-proxy, which does not resolve names.
                    facts = {"namespace": key[0], "endpoint_slice": metadata["name"]}
                    _log.info("endpoint_slice_ignored", extra={**facts, "cause": "it has names"})
                if kind == "DELETED" or found.get("addressType") == "FQDN":
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
        """Yield the endpoints of a port of a Service; without a name, each endpoint once, without a port.

        No more than 5000 endpoints are used, because a query for a name in the cluster needs all of them.
        """
        return islice(self._endpoints(key, port_name), _MAX_ENDPOINTS)

    def _endpoints(self, key: ServiceKey, port_name: str | None) -> Iterator[Endpoint]:
        for each in self._slices_of(key):
            numbers = [
                port.get("port") or 0
                for port in each.get("ports") or [{}]
                if (port.get("name") or "") == port_name
            ]
            for number in [0] if port_name is None else numbers:
                for endpoint in each.get("endpoints") or ():
                    ready, serving = _conditions(endpoint)
                    yield Endpoint(
                        address=endpoint["addresses"][0],
                        port=number,
                        ready=ready,
                        serving=serving,
                        hostname=endpoint.get("hostname") or "",
                        pod=(endpoint.get("targetRef") or {}).get("name") or "",
                    )

    def _slices_of(self, key: ServiceKey) -> list[Object]:
        if self._is_api_server(key):
            server = urlsplit(self._client.server)
            ports = [{"name": "https", "port": server.port or 443}]
            return [
                {"endpoints": [{"addresses": [server.hostname or "127.0.0.1"]}], "ports": ports}
            ]
        return [*self._slices.get(key, {}).values()]

    def _is_api_server(self, key: ServiceKey) -> bool:
        return key == API_SERVER and not self._slices.get(key)

    def _usable(self, key: ServiceKey, port_name: str) -> list[Endpoint]:
        """Return the ready endpoints; if there are none, the terminating endpoints that still serve."""
        found = [*self.endpoints(key, port_name)]
        return [each for each in found if each.ready] or [each for each in found if each.serving]

    async def _on_service(self, key: ServiceKey) -> None:
        service = self.service(key)
        if service and len(service["spec"].get("ports") or ()) > _MAX_PORTS:
            reference = object_reference({"apiVersion": "v1", "kind": "Service", **service})
            message = f"only the first {_MAX_PORTS} ports have a cluster IP"
            self._recorder.record(reference, WARNING, "TooManyPorts", message)
        await self._sync(key)

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
            room = max(_MAX_SOCKETS - sum(map(len, self._listeners.values())), 0)
            new = wanted - listeners.keys()
            if len(new) > room:
                facts = {"namespace": key[0], "service": key[1], "ports": len(new) - room}
                _log.warning("service_ports_unavailable", extra=facts)
            for listener in islice(new, room):
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
            await self._expose(key)

    async def expose_pod(self, address: str) -> None:
        """Expose the ports of a pod whose endpoints are older than its network, as after a restart."""
        for key in [*self._slices]:
            await self._expose(key, address)

    async def _expose(self, key: ServiceKey, address: str | None = None) -> None:
        """Let the machine connect to endpoints in pods: the API server calls webhooks there."""
        for each in self._slices_of(key):
            found = {endpoint["addresses"][0] for endpoint in each.get("endpoints") or ()}
            for pod in found & self._pods.keys() if address is None else found & {address}:
                for port in each.get("ports") or ():
                    if port.get("port") and pod in self._pods:
                        await self._pods[pod].expose(port["port"])

    def _wanted(self, key: ServiceKey) -> Iterator[tuple[str, int, str]]:
        """Yield the address, port and port name of each socket that a Service should have now."""
        spec = (self.service(key) or {}).get("spec") or {}
        address = spec.get("clusterIP") or ""
        if not node_network.is_service_address(address):
            return
        names = {
            port.get("name") or ""
            for each in self._slices_of(key)
            if any(any(_conditions(endpoint)) for endpoint in each.get("endpoints") or ())
            for port in each.get("ports") or [{}]
        }
        for port in (spec.get("ports") or [])[:_MAX_PORTS]:
            name = port.get("name") or ""
            if port.get("protocol", _TCP) == _TCP and name in names:
                yield address, int(port["port"]), name

    async def _connect(self, key: ServiceKey, port_name: str, accepted: socket.socket) -> Stream:
        """Connect to an endpoint; try the others if it refuses."""
        error = OSError("there is no endpoint")
        client_address = accepted.getpeername()[0]
        for endpoint in self._order(key, self._usable(key, port_name), accepted):
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await self._open(key, endpoint, client_address)
            except (OSError, ValueError) as exc:
                error = OSError(str(exc))
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

    async def _open(self, key: ServiceKey, endpoint: Endpoint, client_address: str) -> Stream:
        if self._is_api_server(key):
            return await asyncio.open_connection(endpoint.address, endpoint.port)
        address = ip_address(endpoint.address)
        if address in pod_addresses.NETWORK:
            sock = self._node.open_socket()
            return await node_network.connect(sock, endpoint.address, endpoint.port)
        # Users write EndpointSlices. By one, a pod must reach neither other programs on the loopback of the
        # machine than those of a pod in its network, nor addresses to which it has no route.
        if not self._is_host_port(key[0], endpoint.pod, endpoint.address, endpoint.port):
            if address.is_link_local or not node_network.is_outside(address):
                raise PermissionError(f"{address} is an address of the machine")
            if not self._node.may_leave(client_address):
                raise PermissionError(f"the pod {client_address} may not leave the cluster")
        return await asyncio.open_connection(endpoint.address, endpoint.port)


def _conditions(endpoint: Object) -> tuple[bool, bool]:
    """Return whether an endpoint is ready, and whether it serves."""
    conditions = endpoint.get("conditions") or {}
    ready = conditions.get("ready") is not False
    return ready, conditions.get("serving", ready) is not False
