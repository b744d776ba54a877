"""The network of a pod: a namespace with an address, and relays between it and the machine.

The kubelet adds no interface, route or rule to the machine, and nothing remains when the last process ends.
It relays connections in both directions: to addresses of the machine that its configuration lists, and to the
ports of the pod, at the same loopback address of the machine.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from kubeling.kubelet import node_network
from kubeling.kubelet.node_network import NodeNetwork
from kubeling.kubelet.port_conflict import declared_ports
from kubeling.kubelet.relay import Relay, Stream
from kubeling.kubelet.sandbox import ProcessSpec

_log = logging.getLogger(__name__)

Address = tuple[str, int]

_LOOPBACK = "127."
_MAX_CONNECTIONS = 512
# A port that an EndpointSlice names needs a socket of the machine.
_MAX_PORTS = 256
_CAPABILITIES = frozenset({"NET_ADMIN", "ALL"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetworkConfig:
    """The networks of pods.

    A connection in the pod to a key of `outbound` is relayed to its value, a listening socket of the machine.
    The key is in use in the pod, so its port must not be one on which programs usually listen. For such a
    port, `shared` is a socket of the machine that pods reach at `node_network.SHARED_ADDRESS`: in their
    /etc/hosts, that address replaces the one of the socket.
    In pods that may change their network, packets to `addresses` stay in the pod, where a rule can redirect
    them; `hint` says what to do where such pods cannot run.
    """

    outbound: Mapping[Address, Address] = field(default_factory=dict)
    shared: Address | None = None
    addresses: Sequence[str] = ()
    hint: str = ""


def needs_own_network(pod: Mapping[str, Any]) -> bool:
    """Return whether a container of a pod may change the network, which must then not be the machine's."""
    spec = pod["spec"]
    containers = (*(spec.get("initContainers") or []), *spec["containers"])
    return not spec.get("hostNetwork") and any(map(changes_network, containers))


def changes_network(container: Mapping[str, Any]) -> bool:
    """Return whether a container is privileged or may change the network by a capability."""
    context = container.get("securityContext") or {}
    if context.get("privileged"):
        return True
    added = (context.get("capabilities") or {}).get("add") or ()
    return not _CAPABILITIES.isdisjoint(name.upper().removeprefix("CAP_") for name in added)


class PodNetwork:
    """The network of one pod; the processes of the pod keep the namespace after `close`."""

    def __init__(self, node: NodeNetwork, namespace: int, address: str) -> None:
        self._node, self._namespace, self._address = node, namespace, address
        self._relay = Relay(_MAX_CONNECTIONS)
        self._ports: set[int] = set()
        self.may_leave = False

    @classmethod
    async def open(
        cls, config: PodNetworkConfig, node: NodeNetwork, pod: Mapping[str, Any], address: str
    ) -> Self:
        """Create the network of a pod; its declared ports are relayed from `address` of the machine.

        Raises OSError.
        """
        changes = needs_own_network(pod)
        local = config.addresses if changes else ()
        namespace = await node.create_pod(address, local, egress=node.has_egress and not changes)
        network = cls(node, namespace, address)
        network.may_leave = not changes
        try:
            for address_in_pod, target in config.outbound.items():
                await network._relay_out(address_in_pod, target)
            spec = pod["spec"]
            for container in (*(spec.get("initContainers") or []), *spec["containers"]):
                for port in declared_ports(container):
                    await network.expose(port)
        except BaseException:
            await network.close()
            raise
        return network

    async def close(self) -> None:
        """Stop the relays, and release the namespace."""
        await self._relay.close()
        os.close(self._namespace)

    def wrap(self, spec: ProcessSpec) -> ProcessSpec:
        """Return the process with a command line that enters the namespace first."""
        return replace(spec, argv=[*self._node.enter(self._namespace), *spec.argv])

    def open_socket(self) -> socket.socket:
        """Open a TCP socket in the pod. Raises OSError."""
        return self._node.open_socket(self._namespace)

    async def connect(self, host: str, port: int) -> Stream:
        """Connect to an address, as a program of the pod does. Raises OSError."""
        return await node_network.connect(self.open_socket(), host, port)

    async def expose(self, port: int) -> None:
        """Relay connections to a port of the pod from the same address of the machine."""
        if port in self._ports or len(self._ports) >= _MAX_PORTS:
            return
        self._ports.add(port)
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((self._address, port))
            await self._relay.serve(sock, lambda _: self.connect(self._address, port))
        except OSError as exc:
            # The port is in use, or needs a privilege. The pod works without the relay.
            sock.close()
            _log.info("pod_port_unavailable", extra={"port": port, "cause": exc.strerror})

    async def _relay_out(self, address: Address, target: Address) -> None:
        sock = self._node.open_socket(self._namespace, address)
        # The target sees the address of the pod, and can give each pod its share.
        own = (self._address, 0) if self._address.startswith(_LOOPBACK) else None
        await self._relay.serve(sock, lambda _: asyncio.open_connection(*target, local_addr=own))
