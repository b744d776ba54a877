"""A token request for a user in, a verified sign-in out: every check, in the one order of `aadsts.STEPS`.

`SignIn.check` is that order for password, code, device code and refresh token, written down once; read it
from the top. `SignIn.begin_device` is the one for a device that asks for a code, `verify.Verifier.check`
the one for a client that asks for itself.
"""

import hashlib
import hmac
from dataclasses import dataclass, replace

from podpass.clock import Clock
from podpass.crypto import jose
from podpass.directory.model import Identity, ResourcePrincipal, Tenant
from podpass.directory.resources import GRAPH_APP_ID
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.authenticator import ASSERTED, Acr, Proof, Prover
from podpass.exchange.client_auth.directory_lookup import SHARED_TENANTS, Directory
from podpass.exchange.client_credentials import require
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.sign_in import refresh_tokens
from podpass.exchange.sign_in import scope as user_scope
from podpass.exchange.sign_in.authorization_codes import Codes
from podpass.exchange.sign_in.authorize import AuthorizeRequest
from podpass.exchange.sign_in.clients import Client, Platform, built_in, permissions_of
from podpass.exchange.sign_in.codes import Approval, Code, Device
from podpass.exchange.sign_in.device_codes import Devices
from podpass.exchange.sign_in.scope import Asked
from podpass.exchange.sign_in.tokens import UserExchange
from podpass.exchange.sign_in.users import People
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.token_request import Facts, TokenRequest

PASSWORD = "password"  # noqa: S105 a grant's name
REFRESH = "refresh_token"
CODE = "authorization_code"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
# What each grant must come with; `device_code` is `code` with clients of the v1.0 endpoint.
_REQUIRED = {
    PASSWORD: ("username", "password"),
    REFRESH: ("refresh_token",),
    CODE: ("code", "redirect_uri"),
    DEVICE: ("device_code",),
    "device_code": ("code",),
}
GRANTS = frozenset(_REQUIRED)
_UNPROVED = Proof(acr=Acr.NOTHING)
# What `begin_device` has checked when it gives a code, for the log.
DEVICE_STEPS = ("wire", "tenant", "request", "client", "scope")
# With these, what is redeemed says whether the client has to prove itself.
_TELLS_PLATFORM = frozenset({CODE, REFRESH})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Granted:
    """What a grant gives: who signed in, and what had been asked for then."""

    approval: Approval
    scope: str = ""
    nonce: str = ""
    platform: Platform | None = None


class SignIn:
    """Judge requests of clients that ask for a user, and lead the sign-ins under way."""

    def __init__(
        self, directory: Directory, prover: Prover, keys: AuthorityKeys, clock: Clock
    ) -> None:
        self._directory = directory
        self._prover = prover
        self._seal = keys.seal
        self._clock = clock
        self.people = People(directory, keys.database, clock)
        self.codes = Codes(keys.database, keys.seal, clock)
        self.devices = Devices(keys.database, keys.seal, clock)

    async def check(self, request: TokenRequest, facts: Facts) -> UserExchange:
        """Carry a request through every check.

        Shapes:  what is learnt on the way, for the log only, is put into `facts`.
        Errors:  Refused, for the first check that fails.
        """
        facts["skipped"] = ASSERTED
        tenant = await self.any_or_find(request.tenant, grant=request.get("grant_type"))
        check_request(request)
        registered, client = await self.client(tenant, request.get("client_id"))
        facts["client_id"] = client.id
        proof = await self._prove(registered, client, request, facts)
        if request.get("grant_type") not in _TELLS_PLATFORM:
            # Before the password: no application's mere id is enough to guess with.
            check_proof(client, proof)
        granted = await self._grant(tenant, client, request)
        check_proof(client, proof, granted.platform)
        home = await self._home(tenant, granted)
        user = await self.people.user_of(granted.approval)
        facts["tenant_id"], facts["oid"] = home.id, user.id
        asked = _asked(request, granted)
        facts["resource"] = asked.resource
        resource = await directory_lookup.find_resource(self._directory, home, asked.resource)
        await self.people.check_assigned(client, user)
        return UserExchange(
            tenant=home,
            user=user,
            client=client,
            proof=proof,
            resource=resource,
            asked=asked,
            permissions=await self._permissions(home, client, resource, asked),
            roles=await self._directory.app_roles.roles_of(user.id, resource.app_id),
            authenticated=granted.approval.authenticated,
            nonce=granted.nonce,
            origin=request.origin,
            version=request.version,
            cloud=request.cloud,
        )

    async def begin_device(self, request: TokenRequest, facts: Facts) -> tuple[str, Device]:
        """Carry a request for a device code through every check; give the code and what it stands for.

        Errors:  Refused, for the first check that fails, or 90055.
        """
        tenant = await self.any_or_find(request.tenant, grant="device_code")
        asked = "resource" if request.version == 1 else "scope"
        require(request, "client_id")
        require(request, asked)
        _, client = await self.client(tenant, request.get("client_id"))
        facts["client_id"] = client.id
        check_proof(client, _UNPROVED)
        user_scope.read(request.get(asked), version=request.version)
        return await self.devices.begin(
            client_id=client.id,
            segment=request.tenant,
            scope=request.get(asked),
        )

    async def give_code(
        self, asked: AuthorizeRequest, platform: Platform, approval: Approval
    ) -> str:
        """Give out the code with which the client fetches what the user approved."""
        return await self.codes.issue(
            Code(
                approval=approval,
                client_id=asked.client_id.lower(),
                redirect=asked.redirect,
                platform=platform,
                scope=asked.scope,
                challenge=asked.challenge,
                nonce=asked.nonce,
                issued=self._clock(),
            )
        )

    # ------------------------------------------------------------------------------- tenant and client

    async def any_or_find(self, segment: str, *, grant: str) -> Tenant | None:
        """Find the tenant of a path; None for a segment that stands for any.

        Errors:  Refused 9001023, 900023, 90002.
        """
        # Entra answers passwords under /organizations, and not under /common.
        refused = {"consumers", "common"} if grant == PASSWORD else {"consumers"}
        if segment.lower() in SHARED_TENANTS - refused:
            return None
        return await directory_lookup.find_tenant(self._directory, segment, grant=grant)

    async def client(self, tenant: Tenant | None, client_id: str) -> tuple[Tenant | None, Client]:
        """Find a client that signs users in, and the tenant it was found in.

        Errors:  Refused 700016, 7000112, 7000229, 50194.
        """
        if found := built_in(client_id):
            return tenant, found
        if tenant is None:
            return await self._shared_client(client_id)
        identity = await directory_lookup.find_client(self._directory, tenant, client_id)
        return tenant, Client(id=identity.client_id, name=identity.name, identity=identity)

    async def _shared_client(self, client_id: str) -> tuple[Tenant, Client]:
        for tenant in await self._directory.list_tenants():
            try:
                found = await self.client(tenant, client_id)
            except Refused as exc:
                if exc.entry.number != 700016:
                    raise
                continue
            if not found[1].is_multi_tenant:
                raise Refused(50194, client=client_id, name=found[1].name)
            return tenant, found[1]
        raise Refused(700016, client=client_id, tenant="organizations")

    async def _prove(
        self, tenant: Tenant | None, client: Client, request: TokenRequest, facts: Facts
    ) -> Proof:
        presented = request.get("client_secret") or request.get("client_assertion").strip()
        if not presented:
            return _UNPROVED
        if client.identity is None or tenant is None:
            raise Refused(700025)
        facts["skipped"] = ()
        return await self._prover.prove(tenant, client.identity, request, facts)

    # -------------------------------------------------------------------------------- grant and user

    async def _grant(
        self, tenant: Tenant | None, client: Client, request: TokenRequest
    ) -> _Granted:
        match request.get("grant_type"):
            case "password":
                name, password = request.get("username"), request.get("password")
                return _Granted(approval=await self.people.sign_in(tenant, name, password))
            case "refresh_token":
                return self._refresh(client, request)
            case "authorization_code":
                return await self._redeem(client, request)
        text = request.get("device_code") or request.get("code")
        device = await self.devices.poll(text, client.id)
        assert device.approval is not None
        return _Granted(approval=device.approval, scope=device.scope)

    def _refresh(self, client: Client, request: TokenRequest) -> _Granted:
        token = refresh_tokens.read(self._seal, request.get("refresh_token"), now=self._clock())
        refresh_tokens.check_client(token, client.id)
        approval = Approval(
            tenant_id=token.tenant_id,
            user_id=token.user_id,
            password=token.password,
            authenticated=token.authenticated,
        )
        # As it was got, so it is used: by a client that proves itself, or by one that cannot.
        platform = Platform.WEB if token.proved else Platform.PUBLIC
        return _Granted(approval=approval, platform=platform)

    async def _redeem(self, client: Client, request: TokenRequest) -> _Granted:
        code = await self.codes.redeem(request.get("code"))
        if code.client_id != client.id:
            raise Refused(70000, reason="the code was given to another client")
        if code.redirect != request.get("redirect_uri"):
            raise Refused(500112)
        check_verifier(code, request.get("code_verifier"))
        return _Granted(
            approval=code.approval, scope=code.scope, nonce=code.nonce, platform=code.platform
        )

    async def _home(self, tenant: Tenant | None, granted: _Granted) -> Tenant:
        if tenant is not None and tenant.id != granted.approval.tenant_id:
            raise Refused(700005)
        return await directory_lookup.find_tenant(
            self._directory, granted.approval.tenant_id, grant=""
        )

    # ------------------------------------------------------------------------------------- resource

    async def _permissions(
        self, tenant: Tenant, client: Client, resource: ResourcePrincipal, asked: Asked
    ) -> tuple[str, ...]:
        application = await self._application(tenant, resource)
        offered = None if application is None else permissions_of(application)
        return user_scope.granted(
            asked,
            is_graph=resource.app_id == GRAPH_APP_ID,
            is_tool=client.identity is None,
            offered=offered,
        )

    async def _application(self, tenant: Tenant, resource: ResourcePrincipal) -> Identity | None:
        return await self._directory.find_identity(tenant.id, resource.app_id)


def check_request(request: TokenRequest) -> None:
    """Check that the parameters of a user's grant are there.

    Errors:  Refused 900144, 901002.
    """
    require(request, "client_id")
    for name in _REQUIRED[request.get("grant_type")]:
        require(request, name)
    if request.version == 2 and request.get("resource"):
        raise Refused(901002)
    if request.version == 1 and request.get("grant_type") in {PASSWORD, REFRESH}:
        require(request, "resource")


def check_proof(client: Client, proof: Proof, platform: Platform | None = None) -> None:
    """Check that the client proved itself if its way of signing in wants that, and only then.

    Shapes:  `platform` of the redirect URI a code was sent to, None where the client itself says it.
    Errors:  Refused 7000218, 700025.
    """
    proved = proof.acr != Acr.NOTHING
    if platform in {Platform.PUBLIC, Platform.SPA} and proved:
        raise Refused(700025)
    needs = platform is Platform.WEB or (platform is None and not client.is_public)
    if needs and not proved:
        raise Refused(7000218)


def check_verifier(code: Code, verifier: str) -> None:
    """Check the proof key: who redeems the code is who asked for it (RFC 7636).

    Errors:  Refused 501481; a verifier without a challenge is one too, since somebody took the challenge
             out of the request.
    """
    digest = hashlib.sha256(verifier.encode()).digest()
    made = jose.b64encode(digest) if verifier else ""
    if not hmac.compare_digest(made.encode(), code.challenge.encode()):
        raise Refused(501481)


def _asked(request: TokenRequest, granted: _Granted) -> Asked:
    if request.version == 1:
        return user_scope.of_resource(request.get("resource") or granted.scope)
    asked = user_scope.read_scope(request.get("scope") or granted.scope or "openid")
    # What the sign-in asked for of the answer holds for its redemption, which need not say it again.
    before = user_scope.read_scope(granted.scope).wanted
    return replace(asked, wanted=asked.wanted | before)
