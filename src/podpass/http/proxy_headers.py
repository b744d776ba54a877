"""Find the client's address of a request that a proxy forwarded. Pure.

Every client can send `X-Forwarded-For`. Only the parts that a trusted proxy appended count. The header is
therefore read from its end, and the first address that does not belong to a trusted proxy is the client's.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
HEADER = b"x-forwarded-for"
_MAPPED = "::ffff:"
_MAX_CHARS = 64  # an IPv6 address with a port has 47 characters


def unmap_ipv4(address: str) -> str:
    """Return the IPv4 address in an IPv6 address (::ffff:10.0.0.7), and other addresses unchanged.

    The kernel reports clients with IPv4 in this form on a socket for both families.
    """
    return address[len(_MAPPED) :] if address.startswith(_MAPPED) and "." in address else address


def is_trusted(address: str, proxies: Sequence[Network]) -> bool:
    """Return whether an address belongs to a trusted proxy."""
    if not proxies:  # the usual case; this is called twice for each connection
        return False
    try:
        given = ip_address(address)
    except ValueError:
        return False
    if isinstance(given, IPv6Address) and given.ipv4_mapped is not None:
        given = given.ipv4_mapped
    return any(given in each for each in proxies if each.version == given.version)


def client_address(
    peer: str, headers: Iterable[tuple[bytes, bytes]], proxies: Sequence[Network]
) -> str:
    """Return the client's address that a trusted peer forwards, or the peer's own address.

    `peer` is trusted; header names in lower case. A text that is not an address ends the search, because no
    known proxy writes it.
    """
    found = peer
    lines = [value for name, value in headers if name == HEADER]
    for text in reversed(b",".join(lines).decode("latin-1").split(",")):
        hop = _parse_address(text.strip())
        if hop is None:
            return found
        found = hop
        if not is_trusted(hop, proxies):
            return found
    return found


def _parse_address(text: str) -> str | None:
    """Parse the address in `address`, `address:port` or `[address]:port`."""
    if len(text) > _MAX_CHARS:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    # A proxy with a socket for both families writes ::ffff:10.0.0.7.
    return str(getattr(found, "ipv4_mapped", None) or found)
