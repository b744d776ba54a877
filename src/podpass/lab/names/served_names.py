"""The host names that the gateway serves, as zones of DNS. Pure.

A name is exact (`graph.microsoft.com`) or a wildcard of one label (`*.vault.azure.net`), as in the table of
the gateway and in its certificate.
"""

from collections.abc import Collection, Iterable

_WILDCARD = "*."


def normalize(name: str) -> str:
    """Return a name in lower case, without its trailing dot."""
    return name.lower().removesuffix(".")


def list_zones(names: Iterable[str]) -> tuple[str, ...]:
    """Return the zones that contain the names, without zones below another one."""
    found = dict.fromkeys(normalize(name).removeprefix(_WILDCARD) for name in names)
    return tuple(zone for zone in found if find_zone(zone.partition(".")[2], found) is None)


def find_zone(name: str, zones: Collection[str]) -> str | None:
    """Return the zone that contains a normalized name, None if there is none."""
    while name:
        if name in zones:
            return name
        name = name.partition(".")[2]
    return None


def is_served(name: str, names: Collection[str]) -> bool:
    """Return whether a normalized name is one of the names, or one label below a wildcard."""
    label, _, parent = name.partition(".")
    return name in names or (bool(label) and _WILDCARD + parent in names)
