"""A loopback address for each pod, so that replicas of one program can use the same port.

In a network of its own, a pod has the address at its interface. Where pods share the network of the machine,
a program that listens on the address of its pod (`status.podIP`) does not conflict with another pod, and a
program that listens on all addresses does.
"""

import hashlib
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import Any

Pod = Mapping[str, Any]

# Not the beginning of 127.0.0.0/8, which resolvers and host names of distributions use.
NETWORK = IPv4Network("127.64.0.0/10")


class PodAddresses:
    """The pod addresses of a node; pods share the node's address if no others are usable.

    Linux answers on every address of 127.0.0.0/8, other systems only on those that were configured.
    """

    def __init__(self, node_address: str, network: IPv4Network | None) -> None:
        self._node_address, self._network = node_address, network
        self._used: dict[str, str] = {}

    @property
    def is_shared(self) -> bool:
        """Return whether all pods have the address of the node."""
        return self._network is None

    def assign(self, pod: Pod) -> str:
        """Return the address of a pod: that of its status, or a free one that its uid selects."""
        if self._network is None or pod["spec"].get("hostNetwork"):
            return self._node_address
        uid = pod["metadata"]["uid"]
        before = (pod.get("status") or {}).get("podIP") or ""
        found = before if self._is_free(before) else self._free_address(uid, self._network)
        self._used[found] = uid
        return found

    def release(self, uid: str) -> None:
        """Release the address of a pod."""
        for address in [address for address, user in self._used.items() if user == uid]:
            del self._used[address]

    def _free_address(self, uid: str, network: IPv4Network) -> str:
        at = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4], "big")
        while True:
            # Neither the first nor the last address of the network.
            found = str(network[1 + at % (network.num_addresses - 2)])
            if found not in self._used:
                return found
            at += 1

    def _is_free(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return (
            isinstance(parsed, IPv4Address)
            and self._network is not None
            and parsed in self._network
            and address not in self._used
        )


def usable_network() -> IPv4Network | None:
    """Return the network for the addresses of pods, or None if programs cannot listen there."""
    with socket.socket() as trial:
        try:
            trial.bind((str(NETWORK[1]), 0))
        except OSError:
            return None
    return NETWORK
