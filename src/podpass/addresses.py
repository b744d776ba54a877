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
# Public by number in one Python or another, private by nature: protocol assignments, Azure's own host
# agent, a local network's NAT64, Teredo, 6to4.
_DENIED: tuple[Network, ...] = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("168.63.129.16/32"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("2001::/32"),
    ipaddress.IPv6Network("2002::/16"),
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
    ipaddress.IPv6Network("fd00:ec2::/32"),
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
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if address.version == 6 and address.is_site_local:
        return False
    return not _within(address, _DENIED)


def _within(address: _Address, networks: Iterable[Network]) -> bool:
    return any(address in net for net in networks if net.version == address.version)
