"""From which address a request came, where a proxy stands before us. Pure.

Anybody may write `X-Forwarded-For`. Only what a trusted proxy appended to it counts, so it is read from
its end, and the first address there that is no trusted proxy's is the client's.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
HEADER = b"x-forwarded-for"
_LONGEST = 64  # an IPv6 address with a port is 47


def is_trusted(address: str, proxies: Sequence[Network]) -> bool:
    """Tell whether an address is a trusted proxy's."""
    if not proxies:  # most often, and asked of each connection twice
        return False
    try:
        given = ip_address(address)
    except ValueError:
        return False
    if isinstance(given, IPv6Address) and given.ipv4_mapped is not None:
        given = given.ipv4_mapped
    return any(given in each for each in proxies if each.version == given.version)


def source(peer: str, headers: Iterable[tuple[bytes, bytes]], proxies: Sequence[Network]) -> str:
    """Give the address a trusted peer forwards for; the peer's own where it names none.

    Shapes:  `peer` is trusted; header names in lower case. What is no address ends the search: it was
             not a proxy that wrote it, or not one that we understand.
    """
    found = peer
    lines = [value for name, value in headers if name == HEADER]
    for text in reversed(b",".join(lines).decode("latin-1").split(",")):
        hop = _bare(text.strip())
        if hop is None:
            return found
        found = hop
        if not is_trusted(hop, proxies):
            return found
    return found


def _bare(text: str) -> str | None:
    """Take an address out of `address`, `address:port` or `[address]:port`."""
    if len(text) > _LONGEST:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return None
