"""The addresses of a node's cluster: IPv4, or IPv6 only."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The addresses of one family.

    `node` is the node's own address, with the length of its prefix; `settings` are parameters of the node's
    kernel.
    """

    node: str
    node_prefix: int
    pods: str
    services: str
    api_service: str
    dns_service: str
    default_route: str
    all_addresses: str
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """The families of a cluster; a Service that chooses none has an address of the first."""

    families: tuple[Family, ...]

    @property
    def first(self) -> Family:
        return self.families[0]

    @property
    def server(self) -> str:
        """Return the URL of the API server."""
        node = self.first.node
        return f"https://[{node}]:6443" if ":" in node else f"https://{node}:6443"

    @property
    def has_ipv4(self) -> bool:
        return _IPV4 in self.families

    def join(self, name: str) -> str:
        """Return a field of each family as Kubernetes' flags take them."""
        return ",".join(str(getattr(each, name)) for each in self.families)


_IPV4 = Family(
    node="10.200.0.1",
    node_prefix=24,
    pods="10.244.0.0/16",
    services="10.96.0.0/16",
    api_service="10.96.0.1",
    dns_service="10.96.0.10",
    default_route="0.0.0.0/0",
    all_addresses="0.0.0.0",
    settings=("net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1"),
)
_IPV6 = Family(
    node="fd00:10:200::1",
    node_prefix=64,
    pods="fd00:10:244::/64",
    services="fd00:10:96::/112",
    api_service="fd00:10:96::1",
    dns_service="fd00:10:96::a",
    default_route="::/0",
    all_addresses="::",
    settings=("net.ipv6.conf.all.forwarding=1",),
)
IPV4 = Network((_IPV4,))
# As kind's `ipFamily: ipv6`.
IPV6 = Network((_IPV6,))
