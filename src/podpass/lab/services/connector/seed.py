"""Targets of a seed file: resources of services that podpass does not serve, for connections and roles."""

from dataclasses import dataclass
from typing import Any

import yaml

from podpass.directory.model import OtherResource
from podpass.lab.services.connector import targets
from podpass.seed.results import Applied
from podpass.seed.section import SeedEntry, SeedPlace, SeedSection, fixed
from podpass.seed.yaml_reader import Reader, line_of

_KEYS = ("name", "type", "location", "kind")
_TYPES = tuple(one for one in targets.TYPES if one != targets.VAULT)
# `az aks connection create redis` reads the cache, and refuses one without Entra authentication.
_PROPERTIES: dict[str, dict[str, Any]] = {
    targets.REDIS: {"redisConfiguration": {"aadEnabled": "True"}}
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedConnectionTarget(SeedEntry):
    """A resource with its type, such as Microsoft.Storage/storageAccounts, and its kind, such as OpenAI."""

    type: str
    location: str | None = None
    kind: str | None = None


def _parse(read: Reader, node: yaml.Node) -> SeedConnectionTarget:
    entry = read.read_mapping(node, "target", _KEYS, required=("name", "type"))
    name = read.read_text(entry.get("name"), "target: name") or ""
    where = f"target {name}".rstrip()
    if name and not targets.is_name(name):
        read.add_problem(
            line_of(entry["name"]), f"{where}: name: want 1 to 63 letters, digits, '-' and '_'"
        )
    given = read.read_text(entry.get("type"), f"{where}: type") or ""
    known = {one.lower(): one for one in _TYPES}
    if given and given.lower() not in known:
        text = f"{where}: type {given!r}: want one of {', '.join(_TYPES)}"
        read.add_problem(line_of(entry["type"]), text)
    return SeedConnectionTarget(
        line=line_of(node),
        name=name,
        type=known.get(given.lower(), given),
        location=read.read_text(entry.get("location"), f"{where}: location"),
        kind=read.read_text(entry.get("kind"), f"{where}: kind"),
    )


def _target_id(place: SeedPlace, wanted: SeedConnectionTarget) -> str:
    return f"{place.group_id}/providers/{wanted.type}/{wanted.name}"


async def _find_fault(place: SeedPlace, wanted: SeedConnectionTarget) -> str:
    old = await place.directory.other_resources.get(_target_id(place, wanted))
    is_moved = old is not None and wanted.location not in (None, old.location)
    return f"is in {old.location} and cannot be moved" if old and is_moved else ""


async def _put(place: SeedPlace, wanted: SeedConnectionTarget) -> list[Applied]:
    """Store a target; properties that a user has changed stay."""
    resource_id = _target_id(place, wanted)
    old = await place.directory.other_resources.get(resource_id)
    document = {"properties": _PROPERTIES.get(wanted.type, {}), **(old.document if old else {})}
    if wanted.kind is not None:
        document["kind"] = wanted.kind
    target = OtherResource(
        resource_id=resource_id,
        type=wanted.type,
        name=wanted.name,
        location=wanted.location or (old.location if old else place.location),
        tags=old.tags if old else {},
        document=document,
    )
    change = await place.directory.other_resources.put(target)
    return [Applied(what="target", name=wanted.name, change=change)]


SECTION = SeedSection(
    key="targets",
    noun="target",
    parse=_parse,
    find_scope=fixed(_target_id),
    find_fault=_find_fault,
    put=_put,
    unique=lambda wanted: f"{wanted.type}/{wanted.name}".lower(),
)
