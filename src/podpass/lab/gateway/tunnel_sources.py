"""The clients behind the gateway's connections to the services of this process.

The gateway relays TLS unchanged, so a service sees only the gateway's own address. Gateway and services are
one process: the gateway records the client of each of its connections, and the services look it up.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from podpass.lab.gateway.pod_targets import Address


class TunnelSources:
    """The clients of the tunnels, by the two addresses of the connection to the service."""

    def __init__(self) -> None:
        self._sources: dict[tuple[Address, Address], Address] = {}

    @contextmanager
    def record(self, own: Address, service: Address, source: Address) -> Iterator[None]:
        """Record the client of a connection from `own` to a service until the context ends."""
        self._sources[own, service] = source
        try:
            yield
        finally:
            del self._sources[own, service]

    def find(self, peer: Address, service: Address) -> Address | None:
        """Return the client of a connection; None if the peer is not the gateway."""
        return self._sources.get((peer, service))
