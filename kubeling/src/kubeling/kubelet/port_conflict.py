"""Find out whether a container failed because another program uses one of its ports.

Where pods share the network of the machine, a second replica that listens on all addresses cannot start.
"""

import errno
import socket
from collections.abc import Iterator, Mapping
from typing import Any

REASON = "PortInUse"


def used_ports(container: Mapping[str, Any], address: str) -> list[int]:
    """Return the declared TCP ports of an ended container on which another program listens."""
    return [port for port in declared_ports(container) if _is_used(address, port)]


def event_message(name: str, ports: list[int], address: str, hint: str = "") -> str:
    """Return the message of the event about ports in use; `hint` gives each pod a network of its own."""
    listed = ", ".join(map(str, ports))
    return (
        f"container {name} ended with an error while another program listens on its port {listed}: pods "
        f"share the network of this machine. Make it listen on the address of its pod ({address}, "
        "status.podIP in the downward API), or use another port for each pod"
        + (f", or give each pod a network of its own: {hint}" if hint else "")
    )


def declared_ports(container: Mapping[str, Any]) -> Iterator[int]:
    """Yield the TCP ports that a container declares."""
    for port in container.get("ports") or []:
        if port.get("protocol", "TCP") == "TCP":
            yield int(port["containerPort"])


def _is_used(address: str, port: int) -> bool:
    """Return whether a program could not listen on an address."""
    with socket.socket() as trial:
        # Connections that have ended recently do not count.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
            trial.listen(1)
        except OSError as exc:
            return exc.errno == errno.EADDRINUSE
    return False
