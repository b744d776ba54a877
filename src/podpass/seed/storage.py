"""Storage accounts of a seed file: their roles, on the account or on a container, queue or table."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import yaml

from podpass.directory.model import OtherResource, WriteResult
from podpass.directory.resource_manager import linker_targets
from podpass.directory.store.directory import Directory
from podpass.seed.access import SeedAccess, parse_access
from podpass.seed.yaml_reader import Reader, line_of

_MAX_LISTED = 10
_KEYS = ("name", "location", "access")
_PARTS = {
    "container": "blobServices/default/containers",
    "queue": "queueServices/default/queues",
    "table": "tableServices/default/tables",
}
_PART = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){2,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedStorageAccount:
    """A storage account with its role assignments."""

    line: int
    name: str
    location: str | None = None
    access: tuple[SeedAccess, ...] = ()


def parse_account(read: Reader, node: yaml.Node) -> SeedStorageAccount:
    """Parse a storage account; report each problem with its line."""
    entry = read.read_mapping(node, "storage account", _KEYS, required=("name",))
    name = read.read_text(entry.get("name"), "storage account: name") or ""
    where = f"storage account {name}".rstrip()
    if name and not linker_targets.is_account_name(name):
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


def warn_of_unserved(
    accounts: Iterable[SeedStorageAccount],
    known: Collection[str] | None,
    *,
    no_azurite: str,
    no_key: str,
) -> list[str]:
    """Return a warning for the accounts of a seed whose data nothing serves.

    `known` are the accounts that Azurite has, None without Azurite; `no_azurite` and `no_key` say how to fix
    each case.
    """
    unserved = [each.name for each in accounts if each.name not in (known or ())]
    if not unserved:
        return []
    listed = ", ".join(unserved[:_MAX_LISTED]) + (", ..." if len(unserved) > _MAX_LISTED else "")
    if known is None:
        return [
            f"warning: without Azurite, storage accounts are not served ({listed}); {no_azurite}"
        ]
    return [f"warning: Azurite does not have the storage accounts {listed}; {no_key}"]


def account_id(wanted: SeedStorageAccount, group_id: str) -> str:
    """Return the resource id of an account in a resource group."""
    return f"{group_id}/providers/{linker_targets.STORAGE}/{wanted.name}"


async def find_fault(directory: Directory, wanted: SeedStorageAccount, group_id: str) -> str:
    """Return why an account cannot be stored, or an empty text."""
    named = await directory.find_storage_account(wanted.name)
    if named is not None and named.resource_id.lower() != account_id(wanted, group_id).lower():
        return f"another resource group has this account: {named.resource_id}"
    if named is not None and wanted.location not in (None, named.location):
        return f"is in {named.location} and cannot be moved"
    return ""


async def put_account(
    directory: Directory, wanted: SeedStorageAccount, group_id: str, location: str
) -> WriteResult:
    """Store an account; properties that a user has changed stay."""
    resource_id = account_id(wanted, group_id)
    old = await directory.other_resources.get(resource_id)
    return await directory.other_resources.put(
        OtherResource(
            resource_id=resource_id,
            type=linker_targets.STORAGE,
            name=wanted.name,
            location=wanted.location or (old.location if old else location),
            tags=old.tags if old else {},
            document=old.document
            if old
            else {"kind": "StorageV2", "sku": {"name": "Standard_LRS"}},
        )
    )
