"""Which loopback port each service listens on."""

import socket
from collections.abc import Mapping

from podpass.http.server import PortInUse, bind

LOOPBACK = "127.0.0.1"
_OTHERWISE = "choose other ports with --port-base N (0 takes free ones)"
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
)


def bind_all(base: int, remembered: Mapping[str, int]) -> dict[str, socket.socket]:
    """Open every listening socket at once, before anything is started on them.

    Shapes:  `base` is the first of consecutive ports; 0 takes the remembered ones where they are free.
    Errors:  PortInUse; then none stays open.
    """
    sockets: dict[str, socket.socket] = {}
    try:
        for offset, service in enumerate(SERVICES):
            sockets[service] = (
                bind(LOOPBACK, base + offset, otherwise=_OTHERWISE)
                if base
                else _again(remembered.get(service, 0))
            )
    except PortInUse:
        close_all(sockets)
        raise
    return sockets


def _again(port: int) -> socket.socket:
    try:
        return bind(LOOPBACK, port)
    except PortInUse:
        return bind(LOOPBACK, 0)


def numbers(sockets: Mapping[str, socket.socket]) -> dict[str, int]:
    return {service: int(sock.getsockname()[1]) for service, sock in sockets.items()}


def close_all(sockets: Mapping[str, socket.socket]) -> None:
    for sock in sockets.values():
        sock.close()
