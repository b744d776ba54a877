"""Loopback ports of the services of an instance."""

import socket
from collections.abc import Mapping, Sequence

from podpass.http.server import PortInUse, bind

LOOPBACK = "127.0.0.1"
_HINT = "use other ports with --port-base N (0 selects free ports)"
# What `--listen` exposes: the gateway, which then reaches no address of this machine, and services that check
# every caller.
EXPOSED = frozenset({"gateway", "kubernetes", "authority", "control"})
SERVICES = (
    "gateway",
    "kubernetes",
    "webhook",
    "kubelet",
    "issuer",
    "authority",
    "azure",
    "vault",
    "control",
    "console",
)
# Served only in front of Azurite.
STORAGE = "storage"


def bind_all(
    base: int,
    saved: Mapping[str, int],
    services: Sequence[str] = SERVICES,
    *,
    listen: str = LOOPBACK,
) -> dict[str, socket.socket]:
    """Open the listening sockets of services.

    `base` is the first of consecutive ports; 0 selects the saved ports, or free ports instead of those that
    are in use. `listen` is the address of the services that other machines may use. Raises PortInUse; then
    all sockets are closed.
    """
    sockets: dict[str, socket.socket] = {}
    try:
        for offset, service in enumerate(services):
            address = listen if service in EXPOSED else LOOPBACK
            sockets[service] = (
                bind(address, base + offset, otherwise=_HINT)
                if base
                else _bind_saved(address, saved.get(service, 0))
            )
    except PortInUse:
        close_all(sockets)
        raise
    return sockets


def _bind_saved(address: str, port: int) -> socket.socket:
    try:
        return bind(address, port)
    except PortInUse:
        return bind(address, 0)


def port_numbers(sockets: Mapping[str, socket.socket]) -> dict[str, int]:
    return {service: int(sock.getsockname()[1]) for service, sock in sockets.items()}


def close_all(sockets: Mapping[str, socket.socket]) -> None:
    for sock in sockets.values():
        sock.close()
