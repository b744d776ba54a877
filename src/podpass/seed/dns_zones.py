"""DNS zones of a seed file, with their roles. Records are written through Resource Manager."""

from dataclasses import dataclass

import yaml

from podpass.directory import naming
from podpass.directory.dns import LOCATION, TYPE
from podpass.directory.model import OtherResource, WriteResult
from podpass.directory.store.directory import Directory
from podpass.seed.access import SeedAccess, parse_access
from podpass.seed.yaml_reader import Reader, line_of

_KEYS = ("name", "access")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedDnsZone:
    """A DNS zone with its role assignments; `name` is in lower case."""

    line: int
    name: str
    access: tuple[SeedAccess, ...] = ()


def parse_zone(read: Reader, node: yaml.Node) -> SeedDnsZone:
    """Parse a DNS zone; report each problem with its line."""
    entry = read.read_mapping(node, "DNS zone", _KEYS, required=("name",))
    name = read.read_text(entry.get("name"), "DNS zone: name") or ""
    where = f"DNS zone {name}".rstrip()
    if name and (fault := naming.zone_name_fault(name)):
        read.add_problem(line_of(entry["name"]), f"{where}: {fault.message}")
    listed = read.read_list(entry.get("access"), f"{where}: access")
    access = tuple(parse_access(read, child, where)[0] for child in listed)
    return SeedDnsZone(line=line_of(node), name=name.lower(), access=access)


def zone_id(wanted: SeedDnsZone, group_id: str) -> str:
    """Return the resource id of a zone in a resource group."""
    return f"{group_id}/providers/{TYPE}/{wanted.name}"


async def find_fault(directory: Directory, wanted: SeedDnsZone, group_id: str) -> str:
    """Return why a zone cannot be stored, or an empty text."""
    own = zone_id(wanted, group_id)
    other = await directory.dns_zones.find_conflict(own, wanted.name)
    return f"another resource group has this zone, or names of it: {other}" if other else ""


async def put_zone(directory: Directory, wanted: SeedDnsZone, group_id: str) -> WriteResult:
    """Store a zone; tags that a user has changed stay."""
    resource_id = zone_id(wanted, group_id)
    old = await directory.other_resources.get(resource_id)
    return await directory.dns_zones.put(
        OtherResource(
            resource_id=resource_id,
            type=TYPE,
            name=wanted.name,
            location=LOCATION,
            tags=old.tags if old else {},
        )
    )
