"""Read and store consents: the permissions of a client for a user, in the directory."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from podpass.directory import builtin_principals, delegated_permissions
from podpass.directory.actor import Actor, acting
from podpass.directory.model import Identity, PermissionGrant, ResourcePrincipal, Tenant, User
from podpass.directory.resources import BUILT_IN, GRAPH_APP_ID
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.directory_lookup import DirectoryReader
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in import consent_rules
from podpass.exchange.sign_in import scope as user_scope
from podpass.exchange.sign_in.clients import Client
from podpass.exchange.sign_in.consent_rules import RequestedPermission, ResourcePermissions
from podpass.exchange.sign_in.scope import RequestedScope

_BUILT_IN = frozenset(each.app_id for each in BUILT_IN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentScope:
    """A client and the user whom it acts for, in the user's tenant."""

    tenant: Tenant
    client: Client
    user: User


class Consents:
    """Decides which permissions a token of a user has, and stores what users consent to."""

    def __init__(self, directory: DirectoryReader, administrators: Collection[str]) -> None:
        self._directory = directory
        self._administrators = frozenset(administrators)

    def administers(self, user: User) -> bool:
        """Return whether a user is an administrator, who may consent to every permission."""
        return user.id in self._administrators

    async def permissions(
        self, parties: ConsentScope, resource: ResourcePrincipal, requested: RequestedScope
    ) -> tuple[str, ...]:
        """Return the permissions of a token (`scp`). Raises AadstsError 650053, 65001."""
        client, is_graph = parties.client, resource.app_id == GRAPH_APP_ID
        found = await self._find_permissions(parties, resource)
        if client.identity is None:
            if not is_graph:
                _check_known(client, requested, found)
            published = tuple(one.value for one in found.published)
            return user_scope.tool_permissions(requested, published, is_graph=is_graph)
        _check_known(client, requested, found)
        held = consent_rules.held_permissions(requested, found)
        if held is None:
            facts = {"client": client.id, "name": client.name}
            raise AadstsError(numbers.CONSENT_REQUIRED, **facts, resource=requested.resource)
        return held

    async def needed(
        self, parties: ConsentScope, requested: RequestedScope, *, prompt: bool = False
    ) -> tuple[RequestedPermission, ...]:
        """Return the permissions that the user must consent to on the page.

        `prompt` requests consent again. Raises AadstsError 500011, 650053, 650057, 90094.
        """
        identity = parties.client.identity
        if identity is None:
            return ()
        resource = await directory_lookup.find_resource(
            self._directory, parties.tenant, requested.resource
        )
        resources = [resource, *await self._registered_resources(parties, identity, resource)]
        found = [await self._find_permissions(parties, each) for each in resources]
        _check_known(parties.client, requested, found[0])
        needed = consent_rules.needed_permissions(requested, found, prompt=prompt)
        consent_rules.check_consent(needed, administers=self.administers(parties.user))
        return needed

    async def accept(
        self,
        parties: ConsentScope,
        permissions: Collection[RequestedPermission],
        *,
        for_all: bool = False,
    ) -> None:
        """Store the consent of a user; an administrator can consent for all users of the tenant.

        Raises AadstsError 90094; DatabaseFailed.
        """
        administers = self.administers(parties.user)
        consent_rules.check_consent(permissions, administers=administers)
        assert parties.client.identity is not None
        names: dict[str, list[str]] = defaultdict(list)
        for each in permissions:
            names[each.resource_id].append(each.permission.value)
        grants = [
            PermissionGrant(
                id="",
                tenant_id=parties.tenant.id,
                client_id=parties.client.identity.object_id,
                resource_id=resource_id,
                principal_id="" if for_all and administers else parties.user.id,
                scope=" ".join(values),
            )
            for resource_id, values in names.items()
        ]
        with acting(Actor(object_id=parties.user.id, name=parties.user.name)):
            await self._directory.grants.add(grants)

    async def _registered_resources(
        self, parties: ConsentScope, identity: Identity, requested: ResourcePrincipal
    ) -> Sequence[ResourcePrincipal]:
        """Return the other resources of a client's registration, and Graph."""
        found = []
        for app_id in dict.fromkeys([GRAPH_APP_ID, *delegated_permissions.registered(identity)]):
            resource = await self._directory.find_resource(parties.tenant.id, app_id)
            if resource is not None and resource.app_id != requested.app_id:
                found.append(resource)
        return found

    async def _find_permissions(
        self, parties: ConsentScope, resource: ResourcePrincipal
    ) -> ResourcePermissions:
        tenant, identity = parties.tenant, parties.client.identity
        application = None
        if resource.app_id in _BUILT_IN:
            object_id = builtin_principals.object_id(tenant.id, resource.app_id)
            published = delegated_permissions.of_built_in(resource.app_id, resource.display_name)
        else:
            application = await self._directory.find_identity(tenant.id, resource.app_id)
            object_id = application.object_id if application else ""
            published = delegated_permissions.of_application(application) if application else ()
        granted: frozenset[str] = frozenset()
        registered: frozenset[str] = frozenset()
        if identity is not None and object_id:
            granted = await self._directory.grants.granted(
                tenant_id=tenant.id,
                client_id=identity.object_id,
                resource_id=object_id,
                user_id=parties.user.id,
            )
            listed = delegated_permissions.registered(identity).get(resource.app_id, frozenset())
            registered = frozenset(one.value for one in published if one.id in listed)
        if identity is not None and application is not None:
            ids = delegated_permissions.preauthorized(application, identity.client_id)
            granted |= {one.value for one in published if one.id in ids}
        return ResourcePermissions(
            id=object_id,
            name=resource.display_name,
            is_graph=resource.app_id == GRAPH_APP_ID,
            published=published,
            registered=registered,
            granted=granted,
        )


def _check_known(client: Client, requested: RequestedScope, found: ResourcePermissions) -> None:
    consent_rules.check_known(requested, found.published, client=client.id, name=client.name)
