"""Vaults of a seed file: their secrets and their roles. Values of secrets are never shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import yaml

from podpass import names
from podpass.crypto.secret import Secret
from podpass.directory.model import WriteResult
from podpass.directory.roles import RECOVER_SECRET, SET_SECRET
from podpass.errors import Error
from podpass.lab.services.vault import wire
from podpass.lab.services.vault.model import (
    TYPE,
    AuditContext,
    ObjectAttributes,
    ObjectVersion,
    Vault,
    vault_key,
    vault_name_fault,
)
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults, check_stored
from podpass.seed.access import parse_access
from podpass.seed.results import Applied
from podpass.seed.section import SeedEntry, SeedPlace, SeedSection
from podpass.seed.yaml_reader import Reader, line_of

_KEYS = ("name", "location", "secrets", "access")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedVault(SeedEntry):
    """A vault with its secrets and role assignments."""

    location: str | None = None
    secrets: Mapping[str, Secret] = field(default_factory=dict)


def _parse(read: Reader, node: yaml.Node) -> SeedVault:
    entry = read.read_mapping(node, "vault", _KEYS, required=("name",))
    name = read.read_text(entry.get("name"), "vault: name") or ""
    where = f"vault {name}".rstrip()
    if name and (fault := vault_name_fault(name)):
        read.add_problem(line_of(entry["name"]), f"{where}: {fault.message}")
    access = read.read_list(entry.get("access"), f"{where}: access")
    return SeedVault(
        line=line_of(node),
        name=name,
        location=read.read_text(entry.get("location"), f"{where}: location"),
        secrets=_parse_secrets(read, entry.get("secrets"), where),
        access=tuple(parse_access(read, child, where, in_vault=True)[0] for child in access),
    )


def _parse_secrets(read: Reader, node: yaml.Node | None, where: str) -> dict[str, Secret]:
    entries = read.read_mapping(node, f"{where}: secrets", ())
    found = {}
    for name, child in entries.items():
        label = f"{where}: secret {name}"
        value = read.read_text(child, label)
        try:
            wire.check_name(name)
        except Error as exc:
            read.add_problem(line_of(child), f"{label}: {exc.message}")
        if value is not None and len(value.encode()) > wire.MAX_VALUE_BYTES:
            read.add_problem(line_of(child), f"{label}: over {wire.MAX_VALUE_BYTES} bytes")
        found[name] = Secret(value or "")
    lines = ((line_of(child), name.lower()) for name, child in entries.items())
    read.check_unique(f"{where}: secret", lines)
    return found


def _vault_id(place: SeedPlace, wanted: SeedVault) -> str:
    return f"{place.group_id}/providers/{TYPE}/{wanted.name}"


async def _find_fault(place: SeedPlace, wanted: SeedVault) -> str:
    vaults, expected = place.directory.store(Vaults), _vault_id(place, wanted)
    old = await vaults.get(wanted.name)
    existing = await vaults.find_by_resource_id(expected)
    if existing is not None:
        check_stored(existing)
    if old is not None and old.tenant_id != place.tenant_id:
        return "belongs to another tenant"
    for deleted in await vaults.deleted(name=wanted.name):
        if deleted.vault.resource_id.lower() != expected.lower():
            return f"a deleted vault has this name: {deleted.vault.resource_id}"
    return ""


async def _find_scope(place: SeedPlace, wanted: SeedVault) -> str:
    # A vault that another resource group already has is changed there.
    vault = await place.directory.store(Vaults).get(wanted.name)
    return vault.resource_id if vault is not None else _vault_id(place, wanted)


async def _put(place: SeedPlace, wanted: SeedVault) -> list[Applied]:
    """Write a vault and its secrets."""
    vaults = place.directory.store(Vaults)
    existing = await vaults.get(wanted.name)
    old = existing
    # A deleted vault keeps its name, so it must be recovered before it can be changed.
    if old is None and await vaults.deleted(name=wanted.name):
        old = await vaults.recover(wanted.name)
    new = old or Vault(
        name=wanted.name,
        tenant_id=place.tenant_id,
        location=place.location,
        resource_id=_vault_id(place, wanted),
    )
    change = await vaults.put(replace(new, location=wanted.location or new.location))
    change = change if existing else WriteResult.CREATED
    applied = [Applied(what="vault", name=wanted.name, change=change)]
    vault = await vaults.get(wanted.name)
    assert vault is not None, "it was written just now"
    for name, value in wanted.secrets.items():
        change = await _put_secret(place, vault, name, value)
        applied.append(Applied(what="secret", name=f"{vault.name}/{name}", change=change))
    return applied


async def _put_secret(place: SeedPlace, vault: Vault, name: str, value: Secret) -> WriteResult:
    store: VaultStore = place.data["vault"]
    collection = vault_key(vault)
    existing = await store.get(collection, name)
    # A deleted secret keeps its name, so it must be recovered before it can get a value.
    old = existing or await store.recover(
        collection, name, _audit_record(place, vault, RECOVER_SECRET)
    )
    same = isinstance(old, ObjectVersion) and old.enabled and old.value.matches(value.reveal())
    if not same:
        wanted = ObjectAttributes(given=frozenset())
        record = _audit_record(place, vault, SET_SECRET)
        await store.set(collection, name, value, wanted, place.clock(), record)
    if existing is None:
        return WriteResult.CREATED
    return WriteResult.UNCHANGED if same else WriteResult.UPDATED


def _audit_record(place: SeedPlace, vault: Vault, action: str) -> AuditContext:
    """Return the audit record of an action, in the same form as for a request to the vault."""
    base = f"https://{vault.name}.{names.VAULT_SUFFIX}"
    return AuditContext(action=action, base=base, now=place.clock())


SECTION = SeedSection(
    key="vaults",
    noun="vault",
    parse=_parse,
    find_scope=_find_scope,
    find_fault=_find_fault,
    put=_put,
)
