"""A token request in, a verified exchange out: every check, in the one order of `aadsts.STEPS`.

`Verifier.check` is that order, written down once; read it from the top. A credential must trust the
assertion before its issuer's keys are asked for, so no caller chooses what we fetch.
"""

import re
from datetime import UTC, datetime
from typing import Any, Protocol

from podpass import jose, names
from podpass.clock import Clock
from podpass.directory.model import FederatedCredential, Identity, ResourcePrincipal, Tenant
from podpass.exchange import scope
from podpass.exchange.aadsts import Refused
from podpass.exchange.assertion import UnverifiedAssertion, read
from podpass.exchange.grant import Exchange
from podpass.exchange.issuers import IssuerDown, Issuers
from podpass.exchange.match import match
from podpass.exchange.wire import TokenRequest, is_guid
from podpass.settings import AuthoritySettings

# Names under which no tenant of its own can be meant.
SHARED_TENANTS = frozenset({"common", "organizations", "consumers"})
_DOMAIN = re.compile(
    r"(?=.{1,253}$)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z0-9-]{2,63}"
)

Facts = dict[str, Any]


class Directory(Protocol):
    """What the exchange reads of the directory."""

    async def find_tenant(self, name: str) -> Tenant | None: ...
    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None: ...
    async def find_resource(self, tenant_id: str, uri: str) -> ResourcePrincipal | None: ...


class Verifier:
    """Judge token requests."""

    def __init__(
        self, directory: Directory, issuers: Issuers, settings: AuthoritySettings, clock: Clock
    ) -> None:
        self._directory = directory
        self._issuers = issuers
        self._settings = settings
        self._clock = clock
        self._own_issuers = (
            names.v1_issuer("").rstrip("/") + "/",
            *(f"{each}/" for each in settings.origins),
        )

    async def check(self, request: TokenRequest, facts: Facts) -> Exchange:
        """Carry a request through every check.

        Shapes:  what is learnt on the way, for the log only, is put into `facts`.
        Errors:  Refused, for the first check that fails.
        """
        tenant = await find_tenant(self._directory, request.tenant, grant=request.get("grant_type"))
        check_request(request)
        identity = await self._client(tenant, request)
        facts["tenant_id"], facts["client_id"] = tenant.id, identity.client_id
        assertion = read(presented_assertion(request), self._settings.assertion_algorithms)
        facts.update(
            iss=assertion.issuer,
            sub=assertion.subject,
            aud=assertion.audiences,
            kid=assertion.key_id,
        )
        self._check_foreign(assertion)
        credential = match(assertion, identity)
        facts["credential"] = credential.name
        check_lifetime(assertion, self._settings.assertion_seconds)
        await self._check_signature(assertion, credential, facts)
        check_time(assertion, self._clock(), self._settings.early_seconds)
        asked = scope.resource(request)
        facts["resource"] = asked
        return Exchange(
            tenant=tenant,
            identity=identity,
            credential=credential,
            resource=await self._resource(tenant, asked),
            asked=asked,
            origin=request.origin,
        )

    async def _client(self, tenant: Tenant, request: TokenRequest) -> Identity:
        client = request.get("client_id")
        identity = None
        if is_guid(client):
            identity = await self._directory.find_identity(tenant.id, client.lower())
        if identity is None:
            raise Refused(700016, client=client, tenant=tenant.display_name or tenant.id)
        if not identity.enabled:
            raise Refused(7000112, client=client, name=identity.name)
        return identity

    def _check_foreign(self, assertion: UnverifiedAssertion) -> None:
        # Our own tokens are for resources: one of them, sent here, must not become another one.
        if assertion.issuer.startswith(self._own_issuers):
            raise Refused(700222)

    async def _check_signature(
        self, assertion: UnverifiedAssertion, credential: FederatedCredential, facts: Facts
    ) -> None:
        try:
            # The credential's issuer, not the token's: equal here, and equal after any later change.
            keys = await self._issuers.keys(credential.issuer, assertion.key_id)
        except IssuerDown as exc:
            facts["reason"] = exc.facts.get("reason")
            raise Refused(501661) from exc
        if not keys:
            raise Refused(7000272, key=key_hex(assertion.key_id), issuer=credential.issuer)
        for key in keys:
            try:
                jose.verify(assertion.token, key)
            except jose.BadSignature:
                continue
            return
        raise Refused(7000274)

    async def _resource(self, tenant: Tenant, asked: str) -> ResourcePrincipal:
        resource = await self._directory.find_resource(tenant.id, asked)
        if resource is None:
            raise Refused(500011, resource=asked, tenant=tenant.display_name or tenant.id)
        return resource


async def find_tenant(directory: Directory, name: str, *, grant: str) -> Tenant:
    """Find the tenant of a path, by id or domain.

    Errors:  Refused 9001023, 900023, 90002.
    """
    if name.lower() in SHARED_TENANTS:
        raise Refused(9001023, tenant=name, grant=grant)
    if not is_guid(name) and _DOMAIN.fullmatch(name) is None:
        raise Refused(900023, tenant=name)
    tenant = await directory.find_tenant(name)
    if tenant is None:
        raise Refused(90002, tenant=name)
    return tenant


def check_request(request: TokenRequest) -> None:
    """Check that the parameters of a client credentials grant are there.

    Errors:  Refused 900144, 70003, 901002.
    """
    _require(request, "grant_type")
    if request.get("grant_type") != names.CLIENT_CREDENTIALS:
        raise Refused(70003, grant=request.get("grant_type"))
    _require(request, "client_id")
    if request.version == 2 and request.get("resource"):
        raise Refused(901002)
    _require(request, "resource" if request.version == 1 else "scope")


def _require(request: TokenRequest, name: str) -> None:
    if not request.get(name).strip():
        raise Refused(900144, name=name)


def presented_assertion(request: TokenRequest) -> str:
    """Take the one credential out of a request, without the blanks around it.

    Errors:  Refused 9002313, 7000215, 7000216, 900144.
    """
    assertion = request.get("client_assertion").strip()
    if assertion and request.get("client_secret"):
        both = Refused(9002313, reason="client_assertion and client_secret in one request")
        raise both.answered(step="credential")
    if request.get("client_secret"):
        raise Refused(7000215, client=request.get("client_id"))
    if not assertion:
        raise Refused(7000216)
    kind = request.get("client_assertion_type")
    if not kind:
        raise Refused(900144, name="client_assertion_type").answered(step="credential")
    if kind != names.JWT_BEARER:
        other = Refused(9002313, reason=f"client_assertion_type is not {names.JWT_BEARER}")
        raise other.answered(step="credential")
    return assertion


def check_lifetime(assertion: UnverifiedAssertion, longest: int) -> None:
    """Check that a token was not made to live longer than allowed.

    Errors:  Refused 70023.
    """
    if assertion.expires - assertion.issued > longest:
        issued, expires = moment(assertion.issued), moment(assertion.expires)
        raise Refused(70023, longest=longest, issued=issued, expires=expires)


def check_time(assertion: UnverifiedAssertion, now: float, early: int) -> None:
    """Check that a token is alive; `exp` itself is too late (RFC 7519 section 4.1.4).

    Errors:  Refused 700024.
    """
    begins = max(assertion.issued, assertion.not_before or 0)
    if now < assertion.expires and begins <= now + early:
        return
    raise Refused(
        700024,
        now=moment(now),
        begins=moment(assertion.not_before or 0),
        expires=moment(assertion.expires),
    )


def moment(seconds: float) -> str:
    """Write a time as Entra's messages do; one outside the calendar as a number."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.6g}" if isinstance(seconds, float) else "beyond the calendar"


def key_hex(key_id: str) -> str:
    """Write a key id as Entra does: upper-case hex of its bytes; as it is when it is no base64url."""
    try:
        return jose.b64decode(key_id).hex().upper()
    except jose.MalformedToken:
        return key_id
