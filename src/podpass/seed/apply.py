"""Apply a seed file to an instance's directory and vaults. Applying it again changes nothing.

Objects that the file does not name stay unchanged. All checks that are possible in advance run before the
first write. A secret that already has its value gets no new version.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from podpass import names
from podpass.clock import Clock, system
from podpass.crypto.secret import Secret
from podpass.database import DatabaseFailed
from podpass.directory import errors, resource_ids, rules
from podpass.directory.model import (
    Identity,
    IdentityKind,
    ResourceGroup,
    RoleAssignment,
    Vault,
    WriteResult,
)
from podpass.directory.roles import RECOVER_SECRET, SET_SECRET
from podpass.directory.store.directory import Directory
from podpass.directory.store.integrity import validate_stored_identity, validate_stored_vault
from podpass.errors import Error
from podpass.resource.model import AuditContext, SecretAttributes, vault_key
from podpass.resource.store import SecretStore
from podpass.seed.access import SeedAccess
from podpass.seed.administrator import grant_all
from podpass.seed.model import (
    CLUSTER,
    Seed,
    SeedIdentity,
    SeedVault,
    parse_seed,
    with_issuer,
)
from podpass.seed.resources import create_application
from podpass.seed.results import Applied, identity_results
from podpass.seed.section import SeedPlace
from podpass.seed.yaml_reader import Reader

__all__ = ["Applied", "Seed", "apply_seed", "parse_seed"]

GROUP = "podpass"
NO_CLUSTER = (
    "this instance has no cluster; write the issuer in the seed (authority seed: --cluster-issuer)"
)
NO_VAULTS = "the token service has no vaults"
LOCATION = "eastus"


async def apply_seed(
    seed: Seed,
    directory: Directory,
    vault_store: SecretStore | None,
    *,
    issuer: str | None,
    tenant_id: str,
    subscription_id: str,
    clock: Clock = system,
    stable_ids: bool = False,
) -> list[Applied]:
    """Apply a seed to one tenant. Return the result for each object.

    `issuer` replaces `issuer: cluster` in the file. A file that needs an issuer or a store is rejected if it
    is missing. With `stable_ids`, an identity without a client ID in the file gets one that depends only on
    the tenant and its name. Raises UsageError with file and line, before anything is written; errors of the
    directory and store.
    """
    target = _Target(
        directory=directory,
        store=vault_store,
        issuer=issuer,
        tenant_id=tenant_id,
        subscription_id=subscription_id,
        clock=clock,
        stable_ids=stable_ids,
    )
    planned = await target.plan(seed)
    await target.put_group()
    applied = list(await target.put(planned))
    for vault in seed.vaults:
        applied += await target.put_vault(vault)
    applied += await target.put_entries(seed)
    for administrator in seed.administrators:
        applied.append(await target.put_administrator(administrator.name))
    return applied


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The directory and vault store that a seed is applied to."""

    directory: Directory
    store: SecretStore | None
    issuer: str | None
    tenant_id: str
    subscription_id: str
    clock: Clock
    stable_ids: bool

    @property
    def _place(self) -> SeedPlace:
        return SeedPlace(directory=self.directory, group_id=self._group_id, location=LOCATION)

    @property
    def _group_id(self) -> str:
        return resource_ids.group_id(self.subscription_id, GROUP)

    async def plan(self, seed: Seed) -> list[tuple[Identity, Identity | None]]:
        """Check the complete seed. Return each identity in its new and its current state."""
        reader = Reader(seed.filename)
        planned = []
        for wanted in seed.identities:
            old = None
            try:
                old = await self._find(wanted.name)
                new = self._identity(wanted, old)
                await self._check_ids(wanted, new, old)
                rules.check_identity(new)
                planned.append((new, old))
            except DatabaseFailed:
                raise  # not an error of the seed
            except Error as exc:
                if old is not None:
                    validate_stored_identity(old)  # raises for a corrupt row
                reader.add_problem(wanted.line, f"identity {wanted.name}: {exc.message}")
        for resource in seed.resources:
            try:
                old = await self._find(resource.name)
                new = create_application(resource, old, self.tenant_id)
                await self._check_uris(new)
                rules.check_identity(new)
                planned.append((new, old))
            except DatabaseFailed:
                raise
            except Error as exc:
                reader.add_problem(resource.line, f"resource {resource.name}: {exc.message}")
        await self._check_vaults(seed, reader)
        await self._check_resources(seed, reader)
        await self._check_administrators(seed, reader)
        reader.finish()
        return planned

    async def _check_uris(self, new: Identity) -> None:
        for uri in new.identifier_uris:
            owner = await self.directory.identities.owner_of_uri(self.tenant_id, uri)
            if owner is not None and owner.client_id != new.client_id:
                raise errors.Conflict(f"{uri} belongs to {owner.name}")
        holder = await self.directory.find_identity(self.tenant_id, new.client_id)
        if holder is not None and holder.name != new.name:
            raise errors.Conflict(f"application_id {new.client_id} belongs to {holder.name}")

    def _identity(self, wanted: SeedIdentity, old: Identity | None) -> Identity:
        credentials = old.credentials if old else ()
        for credential in wanted.credentials:
            if credential.issuer == CLUSTER and self.issuer is None:
                raise errors.Conflict(f"credential {credential.name}: {NO_CLUSTER}")
            issued = with_issuer(credential, self.issuer or "")
            credentials = rules.put_credential(credentials, issued)
        if old is not None:
            if old.kind is not wanted.kind:
                raise errors.Conflict(f"exists already as {old.kind.value}")
            return replace(old, credentials=credentials)
        managed = wanted.kind is IdentityKind.MANAGED_IDENTITY
        return Identity(
            tenant_id=self.tenant_id,
            client_id=wanted.client_id or self._generate_id("client", wanted.name),
            object_id=self._generate_id("object", wanted.name),
            name=wanted.name,
            kind=wanted.kind,
            resource_id=self._resource_id(wanted.name) if managed else None,
            location=LOCATION if managed else "",
            credentials=credentials,
        )

    def _generate_id(self, kind: str, name: str) -> str:
        if not self.stable_ids:
            return str(uuid.uuid4())
        return str(uuid.uuid5(uuid.UUID(self.tenant_id), f"{kind}/{name.lower()}"))

    def _resource_id(self, name: str) -> str:
        return resource_ids.identity_id(self.subscription_id, GROUP, name)

    def _vault_id(self, name: str) -> str:
        return resource_ids.vault_id(self.subscription_id, GROUP, name)

    async def _check_ids(self, wanted: SeedIdentity, new: Identity, old: Identity | None) -> None:
        if old is None and new.resource_id is not None:
            holder = await self.directory.identities.find(
                self.tenant_id, resource_id=new.resource_id
            )
            if holder is not None:
                validate_stored_identity(holder)
                raise errors.Conflict(f"its resource id belongs to {holder.name}")
        if wanted.client_id is None:
            return
        if old is not None and old.client_id != wanted.client_id:
            raise errors.Conflict(
                f"its client_id is {old.client_id} and cannot change; use another name for a new identity"
            )
        holder = await self.directory.find_identity(self.tenant_id, wanted.client_id)
        if holder is not None and holder.name != wanted.name:
            validate_stored_identity(holder)
            raise errors.Conflict(f"client_id {wanted.client_id} belongs to {holder.name}")

    async def _check_vaults(self, seed: Seed, reader: Reader) -> None:
        named = {identity.name for identity in seed.identities}
        for vault in seed.vaults:
            if self.store is None:
                reader.add_problem(vault.line, f"vault {vault.name}: {NO_VAULTS}")
                continue
            old = await self.directory.find_vault(vault.name)
            existing = await self.directory.vaults.find_by_resource_id(self._vault_id(vault.name))
            if existing is not None:
                validate_stored_vault(existing)
            if old is not None and old.tenant_id != self.tenant_id:
                reader.add_problem(vault.line, f"vault {vault.name}: belongs to another tenant")
            for deleted in await self.directory.vaults.deleted(name=vault.name):
                if deleted.vault.resource_id.lower() != self._vault_id(vault.name).lower():
                    text = f"a deleted vault has this name: {deleted.vault.resource_id}"
                    reader.add_problem(vault.line, f"vault {vault.name}: {text}")
            await self._check_access(reader, f"vault {vault.name}", vault.access, named)

    async def _check_resources(self, seed: Seed, reader: Reader) -> None:
        named = {identity.name for identity in seed.identities}
        for section in seed.sections:
            for entry in seed.entries[section.key]:
                where = f"{section.noun} {entry.name}"
                if fault := await section.find_fault(self._place, entry):
                    reader.add_problem(entry.line, f"{where}: {fault}")
                await self._check_access(reader, where, entry.access, named)

    async def _check_access(
        self, reader: Reader, where: str, access: Iterable[SeedAccess], named: set[str]
    ) -> None:
        for one in access:
            if fault := await self._unknown(one.identity, named):
                reader.add_problem(one.line, f"{where}: access: {fault}")

    async def _check_administrators(self, seed: Seed, reader: Reader) -> None:
        named = {identity.name for identity in seed.identities}
        for one in seed.administrators:
            if fault := await self._unknown(one.name, named):
                reader.add_problem(one.line, f"administrators: {fault}")

    async def _unknown(self, name: str, named: set[str]) -> str:
        """Return a message if file and directory have no identity with this name, otherwise an empty text."""
        if name in named or await self._find(name):
            return ""
        known = ", ".join(sorted(named | await self._names())) or "none"
        return f"no identity {name!r}; existing identities: {known}"

    async def _names(self) -> set[str]:
        return {found.name for found in await self.directory.list_identities(self.tenant_id)}

    async def _find(self, name: str) -> Identity | None:
        found = await self.directory.list_identities(self.tenant_id, name)
        # Other resource groups may have an identity of this name. The identity in the seed's group is used.
        ours = [one for one in found if one.resource_id == self._resource_id(name)]
        found = ours or found
        if len(found) > 1:
            raise errors.Conflict(f"{len(found)} identities have the name {name}")
        return found[0] if found else None

    async def put_group(self) -> None:
        """Create the resource group of all resources of a seed."""
        if await self.directory.groups.get(self.subscription_id, GROUP) is None:
            group = ResourceGroup(
                subscription_id=self.subscription_id, name=GROUP, location=LOCATION
            )
            await self.directory.groups.put(group)

    async def put(self, planned: Sequence[tuple[Identity, Identity | None]]) -> Iterable[Applied]:
        """Write the identities with their credentials, in one transaction."""
        await self.directory.identities.put_many(new for new, _ in planned)
        return [result for new, old in planned for result in identity_results(new, old)]

    async def put_administrator(self, name: str) -> Applied:
        """Grant an identity administrator rights."""
        identity = await self._find(name)
        assert identity is not None, "checked before the first write"
        change = await grant_all(self.directory, identity, self.subscription_id)
        return Applied(what="administrator", name=name, change=change)

    async def put_vault(self, wanted: SeedVault) -> Iterable[Applied]:
        """Write a vault, its secrets and its role assignments."""
        existing = await self.directory.find_vault(wanted.name)
        old = existing or await self._recover_vault(wanted.name)
        new = old or Vault(
            name=wanted.name,
            tenant_id=self.tenant_id,
            location=LOCATION,
            resource_id=self._vault_id(wanted.name),
        )
        new = replace(new, location=wanted.location or new.location)
        change = await self.directory.vaults.put(new)
        change = change if existing else WriteResult.CREATED
        applied = [Applied(what="vault", name=wanted.name, change=change)]
        vault = await self.directory.find_vault(wanted.name)
        assert vault is not None, "it was written just now"
        for name, value in wanted.secrets.items():
            change = await self._put_secret(vault, name, value)
            applied.append(Applied(what="secret", name=f"{vault.name}/{name}", change=change))
        return [*applied, *await self._put_access(vault.resource_id, vault.name, wanted.access)]

    async def _recover_vault(self, name: str) -> Vault | None:
        # A deleted vault keeps its name, so it must be recovered before it can be changed.
        if not await self.directory.vaults.deleted(name=name):
            return None
        return await self.directory.vaults.recover(name)

    async def _put_secret(self, vault: Vault, name: str, value: Secret) -> WriteResult:
        assert self.store is not None, "checked before the first write"
        shelf = vault_key(vault)
        existing = await self.store.get(shelf, name)
        # A deleted secret keeps its name, so it must be recovered before it can get a value.
        old = existing or await self.store.recover(
            shelf, name, self._audit_record(vault, RECOVER_SECRET)
        )
        same = old is not None and old.enabled and old.value.matches(value.reveal())
        if not same:
            wanted = SecretAttributes(given=frozenset())
            record = self._audit_record(vault, SET_SECRET)
            await self.store.set(shelf, name, value, wanted, self.clock(), record)
        if existing is None:
            return WriteResult.CREATED
        return WriteResult.UNCHANGED if same else WriteResult.UPDATED

    def _audit_record(self, vault: Vault, action: str) -> AuditContext:
        """Return the audit record of an action, in the same form as for a request to the vault."""
        base = f"https://{vault.name}.{names.VAULT_SUFFIX}"
        return AuditContext(action=action, base=base, now=self.clock())

    async def put_entries(self, seed: Seed) -> list[Applied]:
        """Write the entries of the services and their role assignments."""
        applied = []
        for section in seed.sections:
            for entry in seed.entries[section.key]:
                applied += await section.put(self._place, entry)
                resource_id = section.resource_id(self._place, entry)
                applied += await self._put_access(resource_id, entry.name, entry.access)
        return applied

    async def _put_access(
        self, resource_id: str, resource: str, access: Iterable[SeedAccess]
    ) -> list[Applied]:
        applied = []
        for one in access:
            identity = await self._find(one.identity)
            assert identity is not None, "checked before the first write"
            scope = "/".join(filter(None, (resource_id, one.below)))
            change = await self.directory.assign_role(
                RoleAssignment(scope=scope, principal_id=identity.object_id, role=one.role)
            )
            place = "/".join(filter(None, (resource, one.below.rpartition("/")[2])))
            name = f"{one.role} on {place} for {identity.name}"
            applied.append(Applied(what="role", name=name, change=change))
        return applied
