"""Apply a seed file to an instance's directory and services. Applying it again changes nothing.

Objects that the file does not name stay unchanged. All checks that are possible in advance run before the
first write. A secret that already has its value gets no new version.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from podpass.clock import Clock, system
from podpass.database import DatabaseFailed
from podpass.directory import builtin_principals, errors, resource_ids, rules
from podpass.directory.builtin_roles import OWNER
from podpass.directory.model import (
    AppRoleAssignment,
    Identity,
    IdentityKind,
    ResourceGroup,
    RoleAssignment,
    WriteResult,
)
from podpass.directory.resources import GRAPH_APP_ID
from podpass.directory.store.directory import Directory
from podpass.directory.store.integrity import validate_stored_identity
from podpass.errors import Error
from podpass.seed.access import SeedAccess
from podpass.seed.model import (
    CLUSTER,
    Seed,
    SeedIdentity,
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
LOCATION = "eastus"


async def apply_seed(
    seed: Seed,
    directory: Directory,
    data: Mapping[str, Any],
    *,
    issuer: str | None,
    tenant_id: str,
    subscription_id: str,
    clock: Clock = system,
    stable_ids: bool = False,
) -> list[Applied]:
    """Apply a seed to one tenant. Return the result for each object.

    `data` is what the services store besides the directory, by name. `issuer` replaces `issuer: cluster` in
    the file. A file that needs an issuer is rejected if it is missing. With `stable_ids`, an identity without
    a client ID in the file gets one that depends only on the tenant and its name. Raises UsageError with file
    and line, before anything is written; errors of the directory and of the services.
    """
    target = _Target(
        directory=directory,
        data=data,
        issuer=issuer,
        tenant_id=tenant_id,
        subscription_id=subscription_id,
        clock=clock,
        stable_ids=stable_ids,
    )
    planned = await target.plan(seed)
    await target.put_group()
    applied = list(await target.put(planned))
    applied += await target.put_entries(seed)
    for administrator in seed.administrators:
        applied.append(await target.put_administrator(administrator.name))
    return applied


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The directory and the data of services that a seed is applied to."""

    directory: Directory
    data: Mapping[str, Any]
    issuer: str | None
    tenant_id: str
    subscription_id: str
    clock: Clock
    stable_ids: bool

    @property
    def _place(self) -> SeedPlace:
        return SeedPlace(
            directory=self.directory,
            tenant_id=self.tenant_id,
            group_id=self._group_id,
            location=LOCATION,
            clock=self.clock,
            data=self.data,
        )

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
                rules.check_new_expressions(
                    old.credentials if old else (), new.credentials, self.directory.expressions
                )
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
        await self._check_resources(seed, reader)
        named = {identity.name for identity in seed.identities}
        for one in seed.administrators:
            if fault := await self._unknown(one.name, named):
                reader.add_problem(one.line, f"administrators: {fault}")
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
        change = await _grant_all(self.directory, identity, self.subscription_id)
        return Applied(what="administrator", name=name, change=change)

    async def put_entries(self, seed: Seed) -> list[Applied]:
        """Write the entries of the services and their role assignments."""
        applied = []
        for section in seed.sections:
            for entry in seed.entries[section.key]:
                applied += await section.put(self._place, entry)
                scope = await section.find_scope(self._place, entry)
                applied += await self._put_access(scope, entry.name, entry.access)
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


# The permissions for every operation that this Graph API supports.
_PERMISSIONS = (
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Directory.ReadWrite.All",
    "User.ReadWrite.All",
)


async def _grant_all(directory: Directory, identity: Identity, subscription_id: str) -> WriteResult:
    """Make an identity owner of the subscription and assign it Graph permissions for the directory."""
    owner = RoleAssignment(
        scope=f"/subscriptions/{subscription_id}", principal_id=identity.object_id, role=OWNER
    )
    change = await directory.assignments.put(owner)
    assigned = set(await directory.app_roles.roles_of(identity.object_id, GRAPH_APP_ID))
    for role_id, value in builtin_principals.GRAPH_ROLES.items():
        if value in _PERMISSIONS and value not in assigned:
            await directory.app_roles.put(_graph_permission(identity, role_id))
            change = WriteResult.CREATED if change is WriteResult.CREATED else WriteResult.UPDATED
    return change


def _graph_permission(identity: Identity, role_id: str) -> AppRoleAssignment:
    return AppRoleAssignment(
        id="",
        principal_id=identity.object_id,
        principal_type="ServicePrincipal",
        resource_id=builtin_principals.object_id(identity.tenant_id, GRAPH_APP_ID),
        app_role_id=role_id,
    )
