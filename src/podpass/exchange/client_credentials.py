"""A token request in, a verified exchange out: every check, in the one order of `aadsts.STEPS`.

`Verifier.check` is that order for a client that asks for itself, written down once; read it from the top,
with `proof.Prover.prove` for its middle. `signin.SignIn.check` is the one for a client that asks for a user.
"""

from podpass import names
from podpass.directory import resources
from podpass.directory.model import Identity, ResourcePrincipal, Tenant
from podpass.exchange import scope
from podpass.exchange.access_token import Exchange
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.authenticator import Prover
from podpass.exchange.client_auth.directory_lookup import Directory
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.token_request import Facts, TokenRequest

# Steps that only a user's sign-in goes through.
USER_STEPS = ("grant", "user")
# Microsoft's own resources take anybody, and are none of the tenant's applications.
_OPEN = frozenset(each.app_id for each in resources.BUILT_IN)
# Of those, Graph alone has roles that can be given.
_WITHOUT_ROLES = _OPEN - {resources.GRAPH_APP_ID}


class Verifier:
    """Judge requests of clients that ask for themselves."""

    def __init__(self, directory: Directory, prover: Prover) -> None:
        self._directory = directory
        self._prover = prover

    async def check(self, request: TokenRequest, facts: Facts) -> Exchange:
        """Carry a request through every check.

        Shapes:  what is learnt on the way, for the log only, is put into `facts`.
        Errors:  Refused, for the first check that fails.
        """
        facts["skipped"] = USER_STEPS
        directory = self._directory
        tenant = await directory_lookup.find_tenant(
            directory, request.tenant, grant=request.get("grant_type")
        )
        check_request(request)
        identity = await directory_lookup.find_client(
            directory, tenant, request.get("client_id"), self._prover.claim(request)
        )
        facts["tenant_id"], facts["client_id"] = tenant.id, identity.client_id
        proof = await self._prover.prove(tenant, identity, request, facts)
        asked = scope.resource(request)
        facts["resource"] = asked
        resource = await directory_lookup.find_resource(directory, tenant, asked)
        roles: tuple[str, ...] = ()
        if resource.app_id not in _WITHOUT_ROLES:
            roles = await directory.app_roles.roles_of(identity.object_id, resource.app_id)
        if not roles and resource.app_id not in _OPEN:
            await self._check_assigned(tenant, identity, resource)
        return Exchange(
            tenant=tenant,
            identity=identity,
            proof=proof,
            resource=resource,
            roles=roles,
            asked=asked,
            origin=request.origin,
            cloud=request.cloud,
        )

    async def _check_assigned(
        self, tenant: Tenant, identity: Identity, resource: ResourcePrincipal
    ) -> None:
        application = await self._directory.find_identity(tenant.id, resource.app_id)
        if application is None:
            return
        if await directory_lookup.assignment_missing(
            self._directory, application, identity.object_id
        ):
            facts = {"client": identity.client_id, "name": identity.name}
            raise Refused(501051, **facts, resource=resource.app_id)


def check_request(request: TokenRequest) -> None:
    """Check that the parameters of a client credentials grant are there.

    Errors:  Refused 900144, 70003, 901002.
    """
    require(request, "grant_type")
    if request.get("grant_type") != names.CLIENT_CREDENTIALS:
        raise Refused(70003, grant=request.get("grant_type"))
    require(request, "client_id")
    if request.version == 2 and request.get("resource"):
        raise Refused(901002)
    require(request, "resource" if request.version == 1 else "scope")


def require(request: TokenRequest, name: str) -> None:
    """Check that a parameter is there and not blank.

    Errors:  Refused 900144.
    """
    if not request.get(name).strip():
        raise Refused(900144, name=name)
