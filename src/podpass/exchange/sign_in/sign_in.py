"""Check a token request for a user and return the verified sign-in, in the order of the catalogue's steps.

`SignIn.check` has the order for password, authorization code, device code and refresh token. A request for a
device code has its order in `SignIn.create_device_code`, the client credentials grant has another one in
`client_credentials`.
"""

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass, replace

from podpass.clock import Clock
from podpass.crypto import jose
from podpass.directory.model import Tenant
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.authenticator import (
    ASSERTION_STEPS,
    Acr,
    ClientAuthentication,
    ClientAuthenticator,
)
from podpass.exchange.client_auth.directory_lookup import SHARED_TENANTS, DirectoryReader
from podpass.exchange.client_credentials import require_parameter
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in import refresh_tokens
from podpass.exchange.sign_in import scope as user_scope
from podpass.exchange.sign_in.authorization_codes import AuthorizationCodes
from podpass.exchange.sign_in.authorize import AuthorizeRequest
from podpass.exchange.sign_in.clients import Client, Platform, find_built_in
from podpass.exchange.sign_in.codes import Approval, AuthorizationCode, DeviceCode
from podpass.exchange.sign_in.consents import Consents, ConsentScope
from podpass.exchange.sign_in.device_codes import DeviceCodes
from podpass.exchange.sign_in.scope import RequestedScope
from podpass.exchange.sign_in.tokens import UserExchange
from podpass.exchange.sign_in.used_forms import UsedForms
from podpass.exchange.sign_in.users import UserAuthenticator
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.token_request import TokenRequest, read_capabilities

PASSWORD = "password"  # noqa: S105 the name of a grant
REFRESH = "refresh_token"
CODE = "authorization_code"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_SHORT_DEVICE = "device_code"
# The grant of device codes has two names, and so has its parameter: `code` is that of the v1.0 endpoint. MSAL
# for Go, Java and Node send the short name of the grant with `device_code`, older clients with `code`.
_REQUIRED = {
    PASSWORD: ("username", "password"),
    REFRESH: ("refresh_token",),
    CODE: ("code", "redirect_uri"),
    DEVICE: ("device_code",),
    _SHORT_DEVICE: ("device_code",),
}
GRANTS = frozenset(_REQUIRED)
_NO_AUTHENTICATION = ClientAuthentication(acr=Acr.NOTHING)
# The steps that `create_device_code` has checked, for the log.
DEVICE_STEPS = ("wire", "tenant", "request", "client", "scope")
# For these grants, the code or token determines whether the client must authenticate.
_GRANTS_WITH_PLATFORM = frozenset({CODE, REFRESH})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grant:
    """The result of a grant: the user's approval, and the parameters of the original request."""

    approval: Approval
    scope: str = ""
    nonce: str = ""
    platform: Platform | None = None


class SignIn:
    """Checks token requests for users, and stores pending sign-ins."""

    def __init__(
        self,
        directory: DirectoryReader,
        authenticator: ClientAuthenticator,
        keys: AuthorityKeys,
        clock: Clock,
        administrators: Collection[str] = (),
    ) -> None:
        self._directory = directory
        self._authenticator = authenticator
        self._seal = keys.token_sealer
        self._clock = clock
        self.consents = Consents(directory, administrators)
        self.users = UserAuthenticator(directory, keys.database, clock)
        self.codes = AuthorizationCodes(keys.database, keys.token_sealer, clock)
        self.devices = DeviceCodes(keys.database, keys.token_sealer, clock)
        self.used_forms = UsedForms(keys.database, keys.token_sealer, clock)

    async def check(self, request: TokenRequest) -> UserExchange:
        """Check a token request for a user. Raises AadstsError of the first check that fails."""
        record = request.record
        record.skipped = ASSERTION_STEPS
        tenant = await self.find_tenant(request.tenant, grant=request.get("grant_type"))
        check_request(request)
        capabilities = read_capabilities(request)
        registered, client = await self.find_client(tenant, request.get("client_id"))
        record.add(client_id=client.id)
        authentication = await self._authenticate_client(registered, client, request)
        if request.get("grant_type") not in _GRANTS_WITH_PLATFORM:
            # Checked before the password, so that a client ID alone does not suffice to guess passwords.
            check_client_authentication(client, authentication)
        grant = await self._read_grant(tenant, client, request)
        check_client_authentication(client, authentication, grant.platform)
        home = await self._find_home_tenant(tenant, grant)
        user = await self.users.find_user(grant.approval)
        record.add(tenant_id=home.id, oid=user.id)
        requested = _requested_scope(request, grant)
        record.add(resource=requested.resource)
        resource = await directory_lookup.find_resource(self._directory, home, requested.resource)
        await self.users.check_assignment(client, user)
        return UserExchange(
            tenant=home,
            user=user,
            client=client,
            client_authentication=authentication,
            resource=resource,
            requested=requested,
            permissions=await self.consents.permissions(
                ConsentScope(tenant=home, client=client, user=user), resource, requested
            ),
            roles=await self._directory.app_roles.roles_of(user.id, resource.app_id),
            capabilities=capabilities,
            authenticated=grant.approval.authenticated,
            nonce=grant.nonce,
            origin=request.origin,
            version=request.version,
            cloud=request.cloud,
        )

    async def create_device_code(self, request: TokenRequest) -> tuple[str, DeviceCode]:
        """Check a request for a device code; return the code and its data.

        Raises AadstsError of the first check that fails, or 90055.
        """
        tenant = await self.find_tenant(request.tenant, grant="device_code")
        parameter = "resource" if request.version == 1 else "scope"
        require_parameter(request, "client_id")
        require_parameter(request, parameter)
        _, client = await self.find_client(tenant, request.get("client_id"))
        request.record.add(client_id=client.id)
        check_client_authentication(client, _NO_AUTHENTICATION)
        user_scope.parse(request.get(parameter), version=request.version)
        return await self.devices.create(
            client_id=client.id,
            segment=request.tenant,
            scope=request.get(parameter),
            version=request.version,
        )

    async def find_consent_scope(self, client: Client, approval: Approval) -> ConsentScope:
        """Return client and user of an approval, in the user's tenant.

        Raises AadstsError 50034, 50173, 50105.
        """
        user = await self.users.find_user(approval)
        await self.users.check_assignment(client, user)
        tenant = await directory_lookup.find_tenant(self._directory, approval.tenant_id, grant="")
        return ConsentScope(tenant=tenant, client=client, user=user)

    async def issue_code(
        self, request: AuthorizeRequest, platform: Platform, approval: Approval
    ) -> str:
        """Issue the code that the client redeems for the tokens that the user approved."""
        return await self.codes.issue(
            AuthorizationCode(
                approval=approval,
                client_id=request.client_id.lower(),
                redirect=request.redirect,
                platform=platform,
                scope=request.scope,
                challenge=request.challenge,
                nonce=request.nonce,
                issued=self._clock(),
            )
        )

    # ------------------------------------------------------------------------------- tenant and client

    async def find_tenant(self, segment: str, *, grant: str) -> Tenant | None:
        """Return the tenant of a path segment; None for a segment that accepts any tenant.

        Raises AadstsError 9001023, 900023, 90002.
        """
        # Entra accepts the password grant under /organizations, and not under /common.
        refused = {"consumers", "common"} if grant == PASSWORD else {"consumers"}
        if segment.lower() in SHARED_TENANTS - refused:
            return None
        return await directory_lookup.find_tenant(self._directory, segment, grant=grant)

    async def find_client(
        self, tenant: Tenant | None, client_id: str
    ) -> tuple[Tenant | None, Client]:
        """Return a client that signs in users, and its tenant.

        Raises AadstsError 700016, 7000112, 7000229, 50194.
        """
        if found := find_built_in(client_id):
            return tenant, found
        if tenant is None:
            return await self._shared_client(client_id)
        identity = await directory_lookup.find_client(self._directory, tenant, client_id)
        return tenant, Client(id=identity.client_id, name=identity.name, identity=identity)

    async def _shared_client(self, client_id: str) -> tuple[Tenant, Client]:
        for tenant in await self._directory.list_tenants():
            try:
                found = await self.find_client(tenant, client_id)
            except AadstsError as exc:
                if exc.entry.number != numbers.UNKNOWN_CLIENT:
                    raise
                continue
            if not found[1].is_multi_tenant:
                raise AadstsError(numbers.NOT_MULTI_TENANT, client=client_id, name=found[1].name)
            return tenant, found[1]
        raise AadstsError(numbers.UNKNOWN_CLIENT, client=client_id, tenant="organizations")

    async def _authenticate_client(
        self, tenant: Tenant | None, client: Client, request: TokenRequest
    ) -> ClientAuthentication:
        presented = request.get("client_secret") or request.get("client_assertion").strip()
        if not presented:
            return _NO_AUTHENTICATION
        if client.identity is None or tenant is None:
            raise AadstsError(numbers.CLIENT_IS_PUBLIC)
        request.record.skipped = ()
        return await self._authenticator.authenticate(tenant, client.identity, request)

    # ------------------------------------------------------------------------------ grants and users

    async def _read_grant(
        self, tenant: Tenant | None, client: Client, request: TokenRequest
    ) -> _Grant:
        match request.get("grant_type"):
            case "password":
                name, password = request.get("username"), request.get("password")
                return _Grant(approval=await self.users.authenticate(tenant, name, password))
            case "refresh_token":
                return self._refresh(client, request)
            case "authorization_code":
                return await self._redeem(client, request)
        device = await self.devices.poll(_device_code(request), client.id)
        assert device.approval is not None
        return _Grant(approval=device.approval, scope=device.scope)

    def _refresh(self, client: Client, request: TokenRequest) -> _Grant:
        token = refresh_tokens.parse(self._seal, request.get("refresh_token"), now=self._clock())
        refresh_tokens.check_client(token, client.id)
        approval = Approval(
            tenant_id=token.tenant_id,
            user_id=token.user_id,
            password=token.password,
            authenticated=token.authenticated,
        )
        # If the client authenticated when it got the token, it must authenticate again.
        platform = Platform.WEB if token.confidential else Platform.PUBLIC
        return _Grant(approval=approval, platform=platform)

    async def _redeem(self, client: Client, request: TokenRequest) -> _Grant:
        code = await self.codes.redeem(request.get("code"))
        if code.client_id != client.id:
            raise AadstsError(numbers.INVALID_GRANT, reason="the code was issued to another client")
        if code.redirect != request.get("redirect_uri"):
            raise AadstsError(numbers.REDIRECT_URI_MISMATCH)
        check_verifier(code, request.get("code_verifier"))
        return _Grant(
            approval=code.approval, scope=code.scope, nonce=code.nonce, platform=code.platform
        )

    async def _find_home_tenant(self, tenant: Tenant | None, grant: _Grant) -> Tenant:
        if tenant is not None and tenant.id != grant.approval.tenant_id:
            raise AadstsError(numbers.GRANT_OF_OTHER_TENANT)
        return await directory_lookup.find_tenant(
            self._directory, grant.approval.tenant_id, grant=""
        )


def check_request(request: TokenRequest) -> None:
    """Check that the parameters of a user's grant are present. Raises AadstsError 900144, 901002."""
    require_parameter(request, "client_id")
    for name in _REQUIRED[request.get("grant_type")]:
        if name != "device_code" or not _device_code(request):
            require_parameter(request, name)
    if request.version == 2 and request.get("resource"):
        raise AadstsError(numbers.RESOURCE_PARAMETER)
    if request.version == 1 and request.get("grant_type") in {PASSWORD, REFRESH}:
        require_parameter(request, "resource")


def check_client_authentication(
    client: Client, authentication: ClientAuthentication, platform: Platform | None = None
) -> None:
    """Check that a confidential client authenticated, and that a public client did not.

    `platform` is that of the redirect URI; None if the client's registration decides. Raises AadstsError
    7000218, 700025.
    """
    is_authenticated = authentication.acr != Acr.NOTHING
    if platform in {Platform.PUBLIC, Platform.SPA} and is_authenticated:
        raise AadstsError(numbers.CLIENT_IS_PUBLIC)
    is_required = platform is Platform.WEB or (platform is None and not client.is_public)
    if is_required and not is_authenticated:
        raise AadstsError(numbers.CREDENTIAL_REQUIRED)


def check_verifier(code: AuthorizationCode, verifier: str) -> None:
    """Check the code verifier (PKCE, RFC 7636): the client that redeems a code must have requested it.

    Raises AadstsError 501481, also for a verifier without a challenge: an attacker may have removed the
    challenge from the request.
    """
    digest = hashlib.sha256(verifier.encode()).digest()
    computed = jose.b64encode(digest) if verifier else ""
    if not hmac.compare_digest(computed.encode(), code.challenge.encode()):
        raise AadstsError(numbers.CODE_VERIFIER_MISMATCH)


def _device_code(request: TokenRequest) -> str:
    return request.get("device_code") or request.get("code")


def _requested_scope(request: TokenRequest, grant: _Grant) -> RequestedScope:
    if request.version == 1:
        return user_scope.parse_resource(request.get("resource") or grant.scope)
    requested = user_scope.parse_scope(request.get("scope") or grant.scope or "openid")
    # OIDC scopes of the sign-in apply to the redemption, which need not repeat them.
    original = user_scope.parse_scope(grant.scope).oidc_scopes
    return replace(requested, oidc_scopes=requested.oidc_scopes | original)
