"""Targets of a seed file: resources of services that podpass does not serve, for connections and roles."""

from dataclasses import dataclass
from typing import Any

import yaml

from podpass.directory.model import OtherResource, WriteResult
from podpass.directory.resource_manager import linker_targets
from podpass.directory.store.directory import Directory
from podpass.seed.yaml_reader import Reader, line_of

_KEYS = ("name", "type", "location", "kind")
_TYPES = tuple(one for one in linker_targets.TYPES if one != linker_targets.VAULT)
# `az aks connection create redis` reads the cache, and refuses one without Entra authentication.
_PROPERTIES: dict[str, dict[str, Any]] = {
    linker_targets.REDIS: {"redisConfiguration": {"aadEnabled": "True"}}
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedConnectionTarget:
    """A resource with its type, such as Microsoft.Storage/storageAccounts, and its kind, such as OpenAI."""

    line: int
    name: str
    type: str
    location: str | None = None
    kind: str | None = None


def parse_target(read: Reader, node: yaml.Node) -> SeedConnectionTarget:
    """Parse a target; report each problem with its line."""
    entry = read.read_mapping(node, "target", _KEYS, required=("name", "type"))
    name = read.read_text(entry.get("name"), "target: name") or ""
    where = f"target {name}".rstrip()
    if name and not linker_targets.is_name(name):
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


def target_id(wanted: SeedConnectionTarget, group_id: str) -> str:
    """Return the resource id of a target in a resource group."""
    return f"{group_id}/providers/{wanted.type}/{wanted.name}"


async def put_target(
    directory: Directory, wanted: SeedConnectionTarget, group_id: str, location: str
) -> WriteResult:
    """Store a target in a resource group; properties that a user has changed stay."""
    resource_id = target_id(wanted, group_id)
    old = await directory.other_resources.get(resource_id)
    document = {"properties": _PROPERTIES.get(wanted.type, {}), **(old.document if old else {})}
    if wanted.kind is not None:
        document["kind"] = wanted.kind
    return await directory.other_resources.put(
        OtherResource(
            resource_id=resource_id,
            type=wanted.type,
            name=wanted.name,
            location=wanted.location or (old.location if old else location),
            tags=old.tags if old else {},
            document=document,
        )
    )
