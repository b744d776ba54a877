"""Where the tunnels of a pod with its own network end: at other hosts, and at no address of this machine.

The gateway runs in the network of the machine. Without this rule a tunnel would reach the programs that
listen on its loopback addresses, and the metadata service of a virtual machine.
"""

import socket

from podpass.errors import Error
from podpass.http.address_policy import PRIVATE, AddressNotPublic, check_address
from podpass.http.resolver import Resolver

Address = tuple[str, int]

_ANY_PORT = 9


class TargetRefused(Error):
    """A pod with its own network may not connect to this address."""

    code = "target_refused"
    status = 502


class PodTargets:
    """Resolves the hosts that pods connect to, once for each connection."""

    def __init__(self) -> None:
        self._resolver = Resolver()

    async def find(self, host: str, port: int) -> list[Address]:
        """Return the addresses of a host. Raises NameNotResolved, TargetRefused."""
        found = await self._resolver.find(host)
        if not all(map(may_reach, found)):
            raise TargetRefused(
                f"{host}:{port}: pods and containers with their own network reach neither loopback and"
                " link-local addresses nor other addresses of this machine"
            )
        return [(address, port) for address in found]


def may_reach(address: str) -> bool:
    """Return whether a pod may connect to an address: a public or private one of another host."""
    try:
        check_address(address, PRIVATE)
    except AddressNotPublic:
        return False
    return not _is_of_this_machine(address)


def _is_of_this_machine(address: str) -> bool:
    """Return whether the kernel delivers packets to an address on this machine; no packet is sent.

    To its own addresses the kernel chooses the same address as the source.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, _ANY_PORT))
            return bool(probe.getsockname()[0] == address)
    except OSError:
        return False  # no route
