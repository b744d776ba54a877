"""The client credentials grant: every check of a token request, in the order of `errors.model.STEPS`.

`ClientCredentialsVerifier.check` runs the checks for a client that requests a token for itself; the steps
from `credential` to `time` are in `ClientAuthenticator.authenticate`. `sign_in.SignIn.check` is the
counterpart for a token of a user.
"""

from podpass import names
from podpass.directory import resources
from podpass.directory.model import Identity, ResourcePrincipal, Tenant
from podpass.exchange import scope
from podpass.exchange.access_token import Exchange
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.authenticator import ClientAuthenticator
from podpass.exchange.client_auth.directory_lookup import DirectoryReader
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.token_request import TokenRequest, read_capabilities

# Steps that apply only to the sign-in of a user.
USER_STEPS = ("grant", "user")
# Microsoft's own resources accept every client, and are not applications of the tenant.
_BUILT_IN = frozenset(each.app_id for each in resources.BUILT_IN)
# Of these, only Graph has app roles.
_WITHOUT_ROLES = _BUILT_IN - {resources.GRAPH_APP_ID}


class ClientCredentialsVerifier:
    """Check requests of clients that request a token for themselves."""

    def __init__(self, directory: DirectoryReader, authenticator: ClientAuthenticator) -> None:
        self._directory = directory
        self._authenticator = authenticator

    async def check(self, request: TokenRequest) -> Exchange:
        """Run every check on a request. Raises AadstsError of the first check that fails."""
        request.record.skip(USER_STEPS)
        directory = self._directory
        tenant = await directory_lookup.find_tenant(
            directory, request.tenant, grant=request.get("grant_type")
        )
        check_request(request)
        capabilities = read_capabilities(request)
        identity = await directory_lookup.find_client(
            directory, tenant, request.get("client_id"), self._authenticator.peek_claim(request)
        )
        request.record.add(tenant_id=tenant.id, client_id=identity.client_id)
        client_auth = await self._authenticator.authenticate(tenant, identity, request)
        requested = scope.requested_resource(request)
        request.record.add(resource=requested)
        resource, roles = await self.find_access(tenant, identity, requested)
        return Exchange(
            tenant=tenant,
            identity=identity,
            client_auth=client_auth,
            resource=resource,
            roles=roles,
            capabilities=capabilities,
            requested=requested,
            origin=request.origin,
            cloud=request.cloud,
        )

    async def find_access(
        self, tenant: Tenant, identity: Identity, requested: str
    ) -> tuple[ResourcePrincipal, tuple[str, ...]]:
        """Return the requested resource, and the app roles that a client has of it.

        Raises AadstsError 500011, 501051.
        """
        directory = self._directory
        resource = await directory_lookup.find_resource(directory, tenant, requested)
        roles: tuple[str, ...] = ()
        if resource.app_id not in _WITHOUT_ROLES:
            roles = await directory.app_roles.roles_of(identity.object_id, resource.app_id)
        if not roles and resource.app_id not in _BUILT_IN:
            await self._check_assigned(tenant, identity, resource)
        return resource, roles

    async def _check_assigned(
        self, tenant: Tenant, identity: Identity, resource: ResourcePrincipal
    ) -> None:
        application = await self._directory.find_identity(tenant.id, resource.app_id)
        if application is None:
            return
        if await directory_lookup.is_assignment_missing(
            self._directory, application, identity.object_id
        ):
            facts = {"client": identity.client_id, "name": identity.name}
            raise AadstsError(numbers.NO_ROLE_ASSIGNED, **facts, resource=resource.app_id)


def check_request(request: TokenRequest) -> None:
    """Check that the parameters of a client credentials grant are present.

    Raises AadstsError 900144, 70003, 901002.
    """
    require_parameter(request, "grant_type")
    if request.get("grant_type") != names.CLIENT_CREDENTIALS:
        raise AadstsError(numbers.UNSUPPORTED_GRANT, grant=request.get("grant_type"))
    require_parameter(request, "client_id")
    if request.version == 2 and request.get("resource"):
        raise AadstsError(numbers.RESOURCE_PARAMETER)
    require_parameter(request, "resource" if request.version == 1 else "scope")


def require_parameter(request: TokenRequest, name: str) -> None:
    """Check that a parameter is present and not blank. Raises AadstsError 900144."""
    if not request.get(name).strip():
        raise AadstsError(numbers.MISSING_PARAMETER, name=name)
