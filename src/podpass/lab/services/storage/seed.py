"""Storage accounts of a seed file: their roles, on the account or on a container, queue or table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import yaml

from podpass.directory.model import OtherResource
from podpass.lab.services.storage.accounts import TYPE, find_account
from podpass.lab.services.storage.resource_manager import is_name
from podpass.seed.access import SeedAccess, parse_access
from podpass.seed.results import Applied
from podpass.seed.section import SeedEntry, SeedPlace, SeedSection, fixed
from podpass.seed.yaml_reader import Reader, line_of

_KEYS = ("name", "location", "access")
_PARTS = {
    "container": "blobServices/default/containers",
    "queue": "queueServices/default/queues",
    "table": "tableServices/default/tables",
}
_PART = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){2,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedStorageAccount(SeedEntry):
    """A storage account with its role assignments."""

    location: str | None = None


def _parse(read: Reader, node: yaml.Node) -> SeedStorageAccount:
    entry = read.read_mapping(node, "storage account", _KEYS, required=("name",))
    name = read.read_text(entry.get("name"), "storage account: name") or ""
    where = f"storage account {name}".rstrip()
    if name and not is_name(name):
        text = f"{where}: name: want 3 to 24 lower-case letters and digits"
        read.add_problem(line_of(entry["name"]), text)
    listed = read.read_list(entry.get("access"), f"{where}: access")
    return SeedStorageAccount(
        line=line_of(node),
        name=name,
        location=read.read_text(entry.get("location"), f"{where}: location"),
        access=tuple(_parse_access(read, child, where) for child in listed),
    )


def _parse_access(read: Reader, node: yaml.Node, account: str) -> SeedAccess:
    access, entry = parse_access(read, node, account, tuple(_PARTS))
    return replace(access, below=_parse_below(read, entry, node, f"{account}: access"))


def _parse_below(read: Reader, entry: Mapping[str, yaml.Node], node: yaml.Node, where: str) -> str:
    given = [part for part in _PARTS if part in entry]
    if len(given) > 1:
        read.add_problem(line_of(node), f"{where}: want one of {', '.join(_PARTS)}")
    if not given:
        return ""
    name = read.read_text(entry[given[0]], f"{where}: {given[0]}") or ""
    if name and not _PART.fullmatch(name):
        text = f"{where}: {given[0]} {name!r}: want 3 to 63 letters, digits and single '-'"
        read.add_problem(line_of(entry[given[0]]), text)
    return f"{_PARTS[given[0]]}/{name}"


def _account_id(place: SeedPlace, wanted: SeedStorageAccount) -> str:
    return f"{place.group_id}/providers/{TYPE}/{wanted.name}"


async def _find_fault(place: SeedPlace, wanted: SeedStorageAccount) -> str:
    named = await find_account(place.directory, wanted.name)
    if named is not None and named.resource_id.lower() != _account_id(place, wanted).lower():
        return f"another resource group has this account: {named.resource_id}"
    if named is not None and wanted.location not in (None, named.location):
        return f"is in {named.location} and cannot be moved"
    return ""


async def _put(place: SeedPlace, wanted: SeedStorageAccount) -> list[Applied]:
    """Store an account; properties that a user has changed stay."""
    resource_id = _account_id(place, wanted)
    old = await place.directory.other_resources.get(resource_id)
    account = OtherResource(
        resource_id=resource_id,
        type=TYPE,
        name=wanted.name,
        location=wanted.location or (old.location if old else place.location),
        tags=old.tags if old else {},
        document=old.document if old else {"kind": "StorageV2", "sku": {"name": "Standard_LRS"}},
    )
    change = await place.directory.other_resources.put(account)
    return [Applied(what="storage account", name=wanted.name, change=change)]


SECTION = SeedSection(
    key="storage_accounts",
    noun="storage account",
    parse=_parse,
    find_scope=fixed(_account_id),
    find_fault=_find_fault,
    put=_put,
)
