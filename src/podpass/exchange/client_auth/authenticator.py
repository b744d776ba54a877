"""Who a client is: by secret, by a certificate of its own, or by an issuer it trusts; in this order.

`Prover.prove` is that part of the order of `aadsts.STEPS`, from `credential` to `time`, for every grant. A
credential must trust the assertion before its issuer's keys are asked for, so no caller chooses what we
fetch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from podpass import names
from podpass.clock import Clock
from podpass.clouds import CLOUDS
from podpass.crypto import jose
from podpass.directory.model import FederatedCredential, Identity, Tenant
from podpass.exchange.client_auth import certificate, managed_identity
from podpass.exchange.client_auth.assertion import (
    Claim,
    UnverifiedAssertion,
    claim_of,
    key_hex,
    parse_assertion,
    read_claims,
)
from podpass.exchange.client_auth.client_secret import check_secret
from podpass.exchange.client_auth.directory_lookup import Directory
from podpass.exchange.client_auth.issuer_discovery import IssuerDown
from podpass.exchange.client_auth.issuer_keys import Issuers
from podpass.exchange.client_auth.match import match
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.token_request import Facts, TokenRequest
from podpass.guids import is_guid
from podpass.settings import AuthoritySettings

# Steps that only an assertion goes through, and only one of another issuer.
ASSERTED = ("assertion", "trust", "lifetime", "issuer", "key", "signature", "time")
_FETCHED = ("lifetime", "issuer")
_OUTSIDE = ("issuer",)
_CLAIM_CHARS = 4096  # four times what a pod sends


class Acr(StrEnum):
    """How a client proved itself, as access tokens say it (`appidacr`, `azpacr`)."""

    NOTHING = "0"
    SECRET = "1"  # noqa: S105 a claim's value
    ASSERTION = "2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What proved a client, by name."""

    acr: Acr
    credential: str = ""


class Keys(Protocol):
    """The keys our own tokens are checked with."""

    @property
    def published(self) -> Sequence[AuthorityKey]: ...


class Prover:
    """Judge the credential that a client sends."""

    def __init__(
        self,
        directory: Directory,
        issuers: Issuers,
        keys: Keys,
        settings: AuthoritySettings,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._issuers = issuers
        self._keys = keys
        self._settings = settings
        self._clock = clock
        self._cloud = CLOUDS[settings.cloud]
        self._own = managed_identity.prefixes(settings.origins, self._cloud)

    async def prove(
        self, tenant: Tenant, identity: Identity, request: TokenRequest, facts: Facts
    ) -> Proof:
        """Check what the client proves itself with; an assertion's issuer says whose word it is.

        Errors:  Refused, for the first check that fails.
        """
        check_presented(request)
        if secret := request.get("client_secret"):
            _skip(facts, ASSERTED)
            return Proof(acr=Acr.SECRET, credential=check_secret(secret, identity, self._clock()))
        token = parse_assertion(request)
        if certificate.is_own(token):
            return self._by_certificate(token, tenant, identity, request.tenant, facts)
        issuer = token.claims.get("iss")
        if isinstance(issuer, str) and issuer.startswith(self._own):
            return await self._by_managed_identity(token, tenant, identity, facts)
        return await self._by_federation(token, identity, facts)

    def claim(self, request: TokenRequest) -> Claim | None:
        """Give what a request's assertion claims of another issuer, before anything is judged.

        Shapes:  none where `match` is not all that finds a credential: in tokens of ours, in those that an
                 application signs itself, and where credentials are left out for their age.
        """
        if self._settings.propagation_seconds:
            return None
        # The client is not known yet: nobody has us read a long text for one that he made up.
        if len(request.get("client_assertion")) > _CLAIM_CHARS:
            return None
        try:
            claim = claim_of(request.assertion)
        except jose.MalformedToken:
            return None  # told when it is its turn
        if claim is None or is_guid(claim.issuer) or claim.issuer.startswith(self._own):
            return None
        return claim

    async def _by_federation(
        self, token: jose.UnverifiedToken, identity: Identity, facts: Facts
    ) -> Proof:
        assertion = read_claims(token, self._settings.assertion_algorithms)
        _tell(assertion, facts)
        credential = match(assertion, self._seen(identity))
        facts["credential"] = credential.name
        check_lifetime(assertion, self._settings.assertion_seconds)
        await self._check_signature(assertion, credential, facts)
        check_time(assertion, self._clock(), self._settings.early_seconds)
        return Proof(acr=Acr.ASSERTION, credential=credential.name)

    async def _by_managed_identity(
        self, token: jose.UnverifiedToken, tenant: Tenant, identity: Identity, facts: Facts
    ) -> Proof:
        _skip(facts, _OUTSIDE)
        settings, now = self._settings, self._clock()
        assertion = read_claims(token, managed_identity.ALGORITHMS)
        _tell(assertion, facts)
        credential = managed_identity.trusting(
            assertion, self._seen(identity), tenant, settings.origins, self._cloud
        )
        facts["credential"] = credential.name
        sender = managed_identity.sender_of(assertion)
        found = await self._directory.find_identity(tenant.id, sender) if sender else None
        managed_identity.check_sender(assertion, found)
        check_lifetime(assertion, settings.assertion_seconds)
        managed_identity.check_signature(assertion, credential, self._keys.published)
        check_time(assertion, now, settings.early_seconds)
        return Proof(acr=Acr.ASSERTION, credential=credential.name)

    def _by_certificate(
        self,
        token: jose.UnverifiedToken,
        tenant: Tenant,
        identity: Identity,
        segment: str,
        facts: Facts,
    ) -> Proof:
        _skip(facts, _FETCHED)
        assertion = read_claims(token, certificate.ALGORITHMS)
        _tell(assertion, facts)
        audiences = certificate.audiences_of(self._settings.origins, tenant, segment, self._cloud)
        certificate.check_claims(assertion, identity.client_id, audiences)
        key = certificate.find_key(assertion, identity, self._clock())
        facts["credential"] = key.key_id
        certificate.check_signature(assertion, key)
        check_time(assertion, self._clock(), self._settings.early_seconds)
        return Proof(acr=Acr.ASSERTION, credential=key.key_id)

    def _seen(self, identity: Identity) -> Identity:
        """Leave out what the real directory would not have carried to its token service yet."""
        if not self._settings.propagation_seconds:
            return identity
        latest = self._clock() - self._settings.propagation_seconds
        seen = tuple(each for each in identity.credentials if each.created <= latest)
        return replace(identity, credentials=seen)

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


def _skip(facts: Facts, steps: tuple[str, ...]) -> None:
    """Note for the log which steps this way does not go through."""
    facts["skipped"] = (*facts.get("skipped", ()), *steps)


def _tell(assertion: UnverifiedAssertion, facts: Facts) -> None:
    facts.update(
        iss=assertion.issuer,
        sub=assertion.subject,
        aud=assertion.audiences,
        kid=assertion.key_id,
    )


def check_presented(request: TokenRequest) -> None:
    """Check that a request presents exactly one credential, and of a kind that is known.

    Errors:  Refused 9002313, 7000216, 900144.
    """
    assertion = request.get("client_assertion").strip()
    if assertion and request.get("client_secret"):
        both = Refused(9002313, reason="client_assertion and client_secret in one request")
        raise both.answered(step="credential")
    if request.get("client_secret"):
        return
    if not assertion:
        raise Refused(7000216)
    kind = request.get("client_assertion_type")
    if not kind:
        raise Refused(900144, name="client_assertion_type").answered(step="credential")
    if kind != names.JWT_BEARER:
        other = Refused(9002313, reason=f"client_assertion_type is not {names.JWT_BEARER}")
        raise other.answered(step="credential")


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
