"""Azure's locations: how they are named, and what managed identities can do in each.

Source: https://learn.microsoft.com/entra/workload-id/workload-identity-federation-considerations
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A location: `name` in requests, `display_name` for people, `geography` the part of the world."""

    name: str
    display_name: str
    geography: str
    paired: str = ""


_BY_GEOGRAPHY: Mapping[str, tuple[str, ...]] = {
    "US": (
        "East US",
        "East US 2",
        "South Central US",
        "West US 2",
        "West US 3",
        "Central US",
        "North Central US",
        "West US",
        "West Central US",
    ),
    "Europe": (
        "North Europe",
        "West Europe",
        "Sweden Central",
        "UK South",
        "UK West",
        "France Central",
        "France South",
        "Germany West Central",
        "Germany North",
        "Italy North",
        "Norway East",
        "Norway West",
        "Poland Central",
        "Spain Central",
        "Switzerland North",
        "Switzerland West",
        "Austria East",
        "Belgium Central",
        "Denmark East",
    ),
    "Asia Pacific": (
        "Australia East",
        "Australia Southeast",
        "Australia Central",
        "Australia Central 2",
        "Southeast Asia",
        "East Asia",
        "Central India",
        "South India",
        "West India",
        "Jio India West",
        "Jio India Central",
        "Japan East",
        "Japan West",
        "Korea Central",
        "Korea South",
        "Indonesia Central",
        "Malaysia West",
        "Malaysia South",
        "New Zealand North",
    ),
    "Canada": ("Canada Central", "Canada East"),
    "South America": ("Brazil South", "Brazil Southeast", "Chile Central"),
    "Mexico": ("Mexico Central",),
    "Africa": ("South Africa North", "South Africa West"),
    "Middle East": ("UAE North", "UAE Central", "Qatar Central", "Israel Central"),
}


def plain(location: str) -> str:
    """Write a location as requests name it: `East US` is `eastus`."""
    return location.replace(" ", "").lower()


LOCATIONS: Mapping[str, Location] = {
    plain(display): Location(name=plain(display), display_name=display, geography=geography)
    for geography, displays in _BY_GEOGRAPHY.items()
    for display in displays
}

# Where user-assigned managed identities cannot hold federated credentials.
_WITHOUT_FEDERATION: frozenset[str] = frozenset(("malaysiasouth",))


def find(location: str) -> Location | None:
    """Find a location by either of its names."""
    return LOCATIONS.get(plain(location))


def supports_federated_credentials(location: str) -> bool:
    """Tell whether managed identities of a location can hold federated credentials."""
    return plain(location) not in _WITHOUT_FEDERATION
