"""Decide to which addresses a fetcher may connect: public addresses and explicitly allowed ones. Pure.

The policy checks addresses and not names, because the owner of a name can point it to any address.
"""

import ipaddress
from collections.abc import Iterable

from podpass.errors import Error

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# NAT64: an IPv6-only host reaches IPv4 addresses under this prefix, so the IPv4 address is checked.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# The range from which IANA assigns host addresses. All other IPv6 addresses are private, reserved or
# unassigned; for ::ffff:0:0/96 the kernel connects to the IPv4 address in it.
_UNICAST = ipaddress.IPv6Network("2000::/3")
# The ranges that are not globally reachable by IANA's special-purpose registries, and Azure's host agent.
# They are listed here because `ipaddress` differs between Python versions: Python 3.13.5 treats
# ::ffff:168.63.129.16 as public.
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
    ipaddress.IPv4Network("224.0.0.0/3"),  # multicast, and the reserved ranges above it
    ipaddress.IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    ipaddress.IPv6Network("2001:db8::/32"),  # documentation
    ipaddress.IPv6Network("2002::/16"),  # 6to4
    ipaddress.IPv6Network("3fff::/20"),  # documentation
)


# Addresses of private networks: RFC 1918, RFC 6598 (the pods of some clusters), RFC 4193.
PRIVATE: tuple[Network, ...] = (
    ipaddress.IPv4Network("10.0.0.0/8"),
    ipaddress.IPv4Network("172.16.0.0/12"),
    ipaddress.IPv4Network("192.168.0.0/16"),
    ipaddress.IPv4Network("100.64.0.0/10"),
    ipaddress.IPv6Network("fc00::/7"),
)
# Metadata services, which return credentials of the machine itself, and addresses that belong to no host.
_NEVER_ALLOWED: tuple[Network, ...] = (
    ipaddress.IPv4Network("0.0.0.0/8"),
    ipaddress.IPv4Network("169.254.0.0/16"),
    ipaddress.IPv4Network("168.63.129.16/32"),
    ipaddress.IPv4Network("100.100.100.200/32"),
    ipaddress.IPv4Network("192.0.0.192/32"),
    ipaddress.IPv4Network("224.0.0.0/3"),
    ipaddress.IPv6Network("::/128"),
    ipaddress.IPv6Network("::ffff:0:0/96"),  # the kernel connects to the IPv4 address in it
    # Metadata services of Amazon, Google, Oracle, Alibaba, Akamai and Scaleway.
    ipaddress.IPv6Network("fd00:ec2::/32"),
    ipaddress.IPv6Network("fd20:ce::254/128"),
    ipaddress.IPv6Network("fd00:c1::a9fe:a9fe/128"),
    ipaddress.IPv6Network("fd00:100::100:200/128"),
    ipaddress.IPv6Network("fd00:a9fe:a9fe::1/128"),
    ipaddress.IPv6Network("fd00:42::42/128"),
    ipaddress.IPv6Network("fe80::/10"),
    ipaddress.IPv6Network("ff00::/8"),
)


class AddressNotPublic(Error):
    """An address is neither public nor allowed."""

    code = "address_not_public"
    status = 502


def check_address(text: str, allowed: Iterable[Network] = ()) -> bool:
    """Refuse an address that is neither public nor in an allowed network.

    Returns True for a public address. Loopback and link-local addresses and those of metadata services cannot
    be allowed. Raises AddressNotPublic.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    if address in _NAT64:
        address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if _is_public(address):
        return True
    if _is_in(address, _NEVER_ALLOWED) or not _is_in(address, allowed):
        raise AddressNotPublic("the host has an address that is not public")
    return False


def can_be_allowed(network: Network) -> bool:
    """Return whether allowing a network has any effect."""
    return not any(
        network.version == each.version and network.subnet_of(each)  # type: ignore[arg-type]
        for each in _NEVER_ALLOWED
    )


def _is_public(address: _Address) -> bool:
    if address.version == 6 and address not in _UNICAST:
        return False
    return not _is_in(address, _DENIED)


def _is_in(address: _Address, networks: Iterable[Network]) -> bool:
    return any(address in net for net in networks if net.version == address.version)
