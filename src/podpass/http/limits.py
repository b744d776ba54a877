"""Limits on the requests and connections of one server. Pure."""

import ipaddress
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on the size and duration of a request; the duration of a response that is read is not limited.

    `head_bytes` also limits the trailer of a chunked body. `head_fields` limits the memory of a head, because
    a short header needs 40 times the memory of its bytes. An application that has more than `write_bytes` in
    the write buffer waits. Units: `head_seconds` from the start of a connection, or from the first byte of a
    later request, to the end of the request's head; `body_seconds` between two reads of the body, and for the
    complete body plus one second for each `body_rate` bytes; `write_seconds` is how long data may wait for a
    client that receives none of it; `keep_alive_seconds` is how long a connection may be idle; `connections`
    is the number of concurrent connections, `source_connections` of one address, 0 for no limit.
    """

    head_bytes: int = 64 * 1024
    head_fields: int = 512
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_rate: float = 1024.0
    write_bytes: int = 64 * 1024
    write_seconds: float = 30.0
    keep_alive_seconds: int = 75
    connections: int = 4096
    source_connections: int = 0


_LOOPBACK, _POD_NETWORK = "127.0.0.1", ipaddress.IPv4Network("127.64.0.0/10")
LIMITS = Limits()
# Probes and scrapes come from a few clients, one request at a time.
PROBE_LIMITS = Limits(connections=64, source_connections=16, head_bytes=16 * 1024)


class SourceConnections:
    """The number of open connections of each source, and its limit; 0 for no limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def is_full(self, source: str) -> bool:
        """Return whether a source has as many connections as it may have."""
        return 0 < self._limit <= self._open[source_network(source)]

    def on_open(self, source: str) -> None:
        """Count an accepted connection."""
        self._open[source_network(source)] += 1

    def on_close(self, source: str) -> None:
        """Count a closed connection."""
        network = source_network(source)
        self._open[network] -= 1
        if self._open[network] <= 0:
            del self._open[network]


def source_network(source: str) -> str:
    """Return the network of an address that has one share: usually the address itself.

    A host with one IPv6 address usually controls its whole /64. A process of this machine may use each
    address of 127.0.0.0/8, so all are one source, except 127.64.0.0/10, the pods of a local cluster.
    """
    if ":" in source or source.startswith("127."):
        return _network_prefix(source)
    return source


@lru_cache(maxsize=4096)
def _network_prefix(source: str) -> str:
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if isinstance(address, ipaddress.IPv4Address):
        is_local = address.is_loopback and address not in _POD_NETWORK
        return _LOOPBACK if is_local else str(address)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
