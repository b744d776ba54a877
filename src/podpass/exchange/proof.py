"""Who a client is: by secret, by a certificate of its own, or by an issuer it trusts; in this order.

`Prover.prove` is that part of the order of `aadsts.STEPS`, from `credential` to `time`, for every grant. A
credential must trust the assertion before its issuer's keys are asked for, so no caller chooses what we
fetch.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from podpass import jose, names
from podpass.clock import Clock
from podpass.directory.model import FederatedCredential, Identity, Tenant
from podpass.exchange import certificate
from podpass.exchange.aadsts import Refused
from podpass.exchange.assertion import UnverifiedAssertion, parse_assertion, read_claims
from podpass.exchange.client_secret import check_secret
from podpass.exchange.issuers import IssuerDown, Issuers
from podpass.exchange.match import match
from podpass.exchange.wire import TokenRequest
from podpass.settings import AuthoritySettings

Facts = dict[str, Any]

# Steps that only an assertion goes through, and only one of another issuer.
ASSERTED = ("assertion", "trust", "lifetime", "issuer", "key", "signature", "time")
_FETCHED = ("lifetime", "issuer")


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


class Prover:
    """Judge the credential that a client sends."""

    def __init__(self, issuers: Issuers, settings: AuthoritySettings, clock: Clock) -> None:
        self._issuers = issuers
        self._settings = settings
        self._clock = clock
        self._own_issuers = (
            names.v1_issuer("").rstrip("/") + "/",
            *(f"{each}/" for each in settings.origins),
        )

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
        token = parse_assertion(request.get("client_assertion").strip())
        if certificate.is_own(token):
            return self._by_certificate(token, tenant, identity, request.tenant, facts)
        return await self._by_federation(token, identity, facts)

    async def _by_federation(
        self, token: jose.UnverifiedToken, identity: Identity, facts: Facts
    ) -> Proof:
        assertion = read_claims(token, self._settings.assertion_algorithms)
        _tell(assertion, facts)
        self._check_foreign(assertion)
        credential = match(assertion, self._seen(identity))
        facts["credential"] = credential.name
        check_lifetime(assertion, self._settings.assertion_seconds)
        await self._check_signature(assertion, credential, facts)
        check_time(assertion, self._clock(), self._settings.early_seconds)
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
        audiences = certificate.audiences_of(self._settings.origins, tenant, segment)
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


def key_hex(key_id: str) -> str:
    """Write a key id as Entra does: upper-case hex of its bytes; as it is when it is no base64url."""
    try:
        return jose.b64decode(key_id).hex().upper()
    except jose.MalformedToken:
        return key_id
