"""DNS zones of a seed file, with their roles. Records are written through Resource Manager."""

import yaml

from podpass.directory.model import OtherResource
from podpass.lab.services.dns.model import LOCATION, TYPE, zone_name_fault
from podpass.lab.services.dns.store import DnsZones
from podpass.seed.access import parse_access
from podpass.seed.model import Seed
from podpass.seed.results import Applied
from podpass.seed.section import SeedEntry, SeedPlace, SeedSection, fixed
from podpass.seed.yaml_reader import Reader, line_of

_MAX_NAMED = 10


def _parse(read: Reader, node: yaml.Node) -> SeedEntry:
    entry = read.read_mapping(node, "DNS zone", ("name", "access"), required=("name",))
    name = read.read_text(entry.get("name"), "DNS zone: name") or ""
    where = f"DNS zone {name}".rstrip()
    if name and (fault := zone_name_fault(name)):
        read.add_problem(line_of(entry["name"]), f"{where}: {fault.message}")
    listed = read.read_list(entry.get("access"), f"{where}: access")
    access = tuple(parse_access(read, child, where)[0] for child in listed)
    return SeedEntry(line=line_of(node), name=name.lower(), access=access)


def _zone_id(place: SeedPlace, wanted: SeedEntry) -> str:
    return f"{place.group_id}/providers/{TYPE}/{wanted.name}"


async def _find_fault(place: SeedPlace, wanted: SeedEntry) -> str:
    zones = place.directory.store(DnsZones)
    other = await zones.find_conflict(_zone_id(place, wanted), wanted.name)
    return f"another resource group has this zone, or names of it: {other}" if other else ""


async def _put(place: SeedPlace, wanted: SeedEntry) -> list[Applied]:
    """Store a zone; tags that a user has changed stay."""
    resource_id = _zone_id(place, wanted)
    old = await place.directory.other_resources.get(resource_id)
    zone = OtherResource(
        resource_id=resource_id,
        type=TYPE,
        name=wanted.name,
        location=LOCATION,
        tags=old.tags if old else {},
    )
    change = await place.directory.store(DnsZones).put(zone)
    return [Applied(what="DNS zone", name=wanted.name, change=change)]


SECTION = SeedSection(
    key="dns_zones",
    noun="DNS zone",
    parse=_parse,
    find_scope=fixed(_zone_id),
    find_fault=_find_fault,
    put=_put,
)


def warn_at_install(seed: Seed, dns: str) -> list[str]:
    """Warn of zones whose names pods cannot look up with this `--dns`."""
    zones = [zone.name for zone in seed.entries["dns_zones"]]
    if not zones or dns == "pods":
        return []
    shown = ", ".join(zones[:_MAX_NAMED]) + (" and others" if zones[_MAX_NAMED:] else "")
    text = (
        f"warning: pods do not resolve names of the seed's DNS zones ({shown}): the cluster's DNS does not"
        " forward them; pods that are chosen with `podpass cloud install --dns pods` resolve them"
    )
    return [text]
