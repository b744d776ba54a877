"""Which addresses a fetcher may go to: public ones, and those that somebody opened. Pure.

An address says more than a name: whoever owns a name lets it lead wherever he likes.
"""

import ipaddress
from collections.abc import Iterable

from podpass.errors import Error

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# NAT64: an IPv6-only host reaches an IPv4 address under this prefix, so that address is what counts.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# What IANA gives out to hosts. All else of IPv6 is private, reserved or nobody's; and ::ffff:0:0/96 leads the
# kernel to the IPv4 address in it.
_UNICAST = ipaddress.IPv6Network("2000::/3")
# What IANA's registries of special purposes do not call globally reachable, and Azure's host agent. Written
# here, since what `ipaddress` says of an address differs from one Python to the next: by 3.13.5,
# ::ffff:168.63.129.16 is public.
_DENIED: tuple[Network, ...] = (
    ipaddress.IPv4Network("0.0.0.0/8"),
    ipaddress.IPv4Network("10.0.0.0/8"),
    ipaddress.IPv4Network("100.64.0.0/10"),
    ipaddress.IPv4Network("127.0.0.0/8"),
    ipaddress.IPv4Network("168.63.129.16/32"),
    ipaddress.IPv4Network("169.254.0.0/16"),
    ipaddress.IPv4Network("172.16.0.0/12"),
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments
    ipaddress.IPv4Network("192.0.2.0/24"),  # documentation, as 198.51.100.0/24 and 203.0.113.0/24
    ipaddress.IPv4Network("192.88.99.0/24"),  # relays of 6to4
    ipaddress.IPv4Network("192.168.0.0/16"),
    ipaddress.IPv4Network("198.18.0.0/15"),  # benchmarks
    ipaddress.IPv4Network("198.51.100.0/24"),
    ipaddress.IPv4Network("203.0.113.0/24"),
    ipaddress.IPv4Network("224.0.0.0/3"),  # multicast, and what is reserved above it
    ipaddress.IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    ipaddress.IPv6Network("2001:db8::/32"),  # documentation
    ipaddress.IPv6Network("2002::/16"),  # 6to4
    ipaddress.IPv6Network("3fff::/20"),  # documentation
)


# What a private network may have: RFC 1918, RFC 6598 (some clusters' pods), RFC 4193.
PRIVATE: tuple[Network, ...] = (
    ipaddress.IPv4Network("10.0.0.0/8"),
    ipaddress.IPv4Network("172.16.0.0/12"),
    ipaddress.IPv4Network("192.168.0.0/16"),
    ipaddress.IPv4Network("100.64.0.0/10"),
    ipaddress.IPv6Network("fc00::/7"),
)
# Where clouds keep metadata and credentials of the machine itself, and addresses that are no host's.
_NEVER: tuple[Network, ...] = (
    ipaddress.IPv4Network("0.0.0.0/8"),
    ipaddress.IPv4Network("169.254.0.0/16"),
    ipaddress.IPv4Network("168.63.129.16/32"),
    ipaddress.IPv4Network("100.100.100.200/32"),
    ipaddress.IPv4Network("192.0.0.192/32"),
    ipaddress.IPv4Network("224.0.0.0/3"),
    ipaddress.IPv6Network("::/128"),
    ipaddress.IPv6Network("::ffff:0:0/96"),  # the kernel goes to the IPv4 address in it
    # Of Amazon, Google, Oracle, Alibaba, Akamai and Scaleway.
    ipaddress.IPv6Network("fd00:ec2::/32"),
    ipaddress.IPv6Network("fd20:ce::254/128"),
    ipaddress.IPv6Network("fd00:c1::a9fe:a9fe/128"),
    ipaddress.IPv6Network("fd00:100::100:200/128"),
    ipaddress.IPv6Network("fd00:a9fe:a9fe::1/128"),
    ipaddress.IPv6Network("fd00:42::42/128"),
    ipaddress.IPv6Network("fe80::/10"),
    ipaddress.IPv6Network("ff00::/8"),
)


class NotPublic(Error):
    """An address lies where nobody was let in."""

    code = "address_not_public"
    status = 502


def check_address(text: str, opened: Iterable[Network] = ()) -> bool:
    """Refuse an address that is neither public nor in one of the networks that were opened.

    Shapes:  True for a public address. Nothing opens an address of the machine's own neighbourhood, where
             a cloud keeps its metadata.
    Errors:  NotPublic.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if address in _NAT64:
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if _is_public(address):
        return True
    if _within(address, _NEVER) or not _within(address, opened):
        raise NotPublic("the host has an address that is not public")
    return False


def may_be_opened(network: Network) -> bool:
    """Tell whether opening a network opens anything."""
    return not any(
        network.version == each.version and network.subnet_of(each)  # type: ignore[arg-type]
        for each in _NEVER
    )


def _is_public(address: _Address) -> bool:
    if address.version == 6 and address not in _UNICAST:
        return False
    return not _within(address, _DENIED)


def _within(address: _Address, networks: Iterable[Network]) -> bool:
    return any(address in net for net in networks if net.version == address.version)
