"""Client authentication by secret, by the application's own certificate, or by a federated assertion.

`ClientAuthenticator.authenticate` runs the steps from `credential` to `time` of `errors.model.STEPS`, for
every grant. A federated credential must match the assertion before the keys of its issuer are fetched, so no
caller can choose a URL that the service fetches. For a token of this service, the step `trust` ends with the
rule of one federated hop (AADSTS700231).
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
from podpass.directory.claims_expression import KubernetesIssuers, is_public_issuer
from podpass.directory.model import FederatedCredential, Identity, Tenant
from podpass.exchange.client_auth import certificate, managed_identity_assertion
from podpass.exchange.client_auth.assertion import (
    UnverifiedAssertion,
    UnverifiedClaim,
    key_hex,
    parse_assertion,
    peek_claim,
    read_claims,
    read_pod,
)
from podpass.exchange.client_auth.client_secret import check_secret
from podpass.exchange.client_auth.directory_lookup import DirectoryReader
from podpass.exchange.client_auth.issuer_discovery import IssuerUnavailable
from podpass.exchange.client_auth.issuer_keys import IssuerKeyCache
from podpass.exchange.client_auth.match import match
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.errors.issuer_reasons import describe_reason
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.token_request import RequestRecord, TokenRequest
from podpass.guids import is_guid
from podpass.kubernetes.service_account.names import USERNAME_PREFIX
from podpass.settings import AuthoritySettings

# Steps that a client secret skips; steps that a self-signed assertion skips; the step that a token of this
# service skips.
ASSERTION_STEPS = ("assertion", "trust", "lifetime", "issuer", "key", "signature", "time")
_FEDERATION_STEPS = ("lifetime", "issuer")
_ISSUER_STEP = ("issuer",)
_MAX_PEEK_CHARS = 4096  # four times the size of a pod's token


class Acr(StrEnum):
    """The client authentication method, as in the claims `appidacr` and `azpacr` of access tokens."""

    NOTHING = "0"
    SECRET = "1"  # noqa: S105 a claim's value
    ASSERTION = "2"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAuthentication:
    """The method that authenticated a client, and the name of the credential.

    `is_federated` is whether the credential is a stored federated credential.
    """

    acr: Acr
    credential: str = ""
    is_federated: bool = False


class PublishedKeySet(Protocol):
    """The published signing keys of this service."""

    @property
    def published(self) -> Sequence[AuthorityKey]: ...


class ClientAuthenticator:
    """Authenticate clients by the credential in their request."""

    def __init__(
        self,
        directory: DirectoryReader,
        issuers: IssuerKeyCache,
        keys: PublishedKeySet,
        settings: AuthoritySettings,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._issuers = issuers
        self._keys = keys
        self._settings = settings
        self._clock = clock
        self._kubernetes = KubernetesIssuers(
            issuers=frozenset(settings.flexible_kubernetes), allow_wide=settings.allow_wide
        )
        self._cloud = CLOUDS[settings.cloud]
        self._own = managed_identity_assertion.issuer_prefixes(settings.origins, self._cloud)

    async def authenticate(
        self, tenant: Tenant, identity: Identity, request: TokenRequest
    ) -> ClientAuthentication:
        """Check the credential in a request; the issuer of an assertion selects the checks.

        Raises AadstsError of the first check that fails.
        """
        check_credential_parameters(request)
        if secret := request.get("client_secret"):
            request.record.skip(ASSERTION_STEPS)
            return ClientAuthentication(
                acr=Acr.SECRET, credential=check_secret(secret, identity, self._clock())
            )
        token = parse_assertion(request)
        if certificate.is_self_issued(token):
            return self._by_certificate(token, tenant, identity, request)
        issuer = token.claims.get("iss")
        if isinstance(issuer, str) and issuer.startswith(self._own):
            return await self._by_managed_identity(token, tenant, identity, request.record)
        return await self._by_federation(token, identity, request.record)

    def peek_claim(self, request: TokenRequest) -> UnverifiedClaim | None:
        """Return the issuer, subject and audiences of a federated assertion, without any check.

        None if `match.match` alone does not decide: for tokens of this service, for assertions that an
        application signed itself, and with `propagation_seconds`.
        """
        if self._settings.propagation_seconds:
            return None
        # The client is not known yet: a request with an invented client ID must not cost the time to parse a
        # long text.
        if len(request.get("client_assertion")) > _MAX_PEEK_CHARS:
            return None
        try:
            claim = peek_claim(request.assertion)
        except jose.MalformedToken:
            return None  # reported by the step `assertion`
        if claim is None or is_guid(claim.issuer) or claim.issuer.startswith(self._own):
            return None
        return claim

    async def _by_federation(
        self, token: jose.UnverifiedToken, identity: Identity, record: RequestRecord
    ) -> ClientAuthentication:
        assertion = read_claims(token, self._settings.assertion_algorithms)
        _record_claims(assertion, record)
        credential = match(
            assertion, self._without_new_credentials(identity), kubernetes=self._kubernetes
        )
        record.add(credential=credential.name)
        if credential.expression and not is_public_issuer(credential.issuer):
            record.add(not_in_entra="flexible credential of a cluster")
        if self._settings.require_pod_claims:
            check_pod(assertion)
        check_lifetime(assertion, self._settings.assertion_seconds)
        await self._check_signature(assertion, credential, record)
        check_time(assertion, self._clock(), self._settings.early_seconds)
        return _federated(credential)

    async def _by_managed_identity(
        self, token: jose.UnverifiedToken, tenant: Tenant, identity: Identity, record: RequestRecord
    ) -> ClientAuthentication:
        record.skip(_ISSUER_STEP)
        settings, now = self._settings, self._clock()
        assertion = read_claims(token, managed_identity_assertion.ALGORITHMS)
        _record_claims(assertion, record)
        credential = managed_identity_assertion.match_credential(
            assertion,
            self._without_new_credentials(identity),
            tenant,
            settings.origins,
            self._cloud,
        )
        record.add(credential=credential.name)
        if not managed_identity_assertion.is_service_connection(assertion, tenant):
            issuing = managed_identity_assertion.issuing_client_id(assertion)
            found = await self._directory.find_identity(tenant.id, issuing) if issuing else None
            managed_identity_assertion.check_issuing_identity(assertion, found)
        check_lifetime(assertion, settings.assertion_seconds)
        managed_identity_assertion.check_signature(assertion, credential, self._keys.published)
        check_time(assertion, now, settings.early_seconds)
        return _federated(credential)

    def _by_certificate(
        self, token: jose.UnverifiedToken, tenant: Tenant, identity: Identity, request: TokenRequest
    ) -> ClientAuthentication:
        record = request.record
        record.skip(_FEDERATION_STEPS)
        assertion = read_claims(token, certificate.ALGORITHMS)
        _record_claims(assertion, record)
        audiences = certificate.allowed_audiences(
            self._settings.origins, tenant, request.tenant, self._cloud
        )
        certificate.check_claims(assertion, identity.client_id, audiences)
        key = certificate.find_key(assertion, identity, self._clock())
        record.add(credential=key.key_id)
        certificate.check_signature(assertion, key)
        check_time(assertion, self._clock(), self._settings.early_seconds)
        return ClientAuthentication(acr=Acr.ASSERTION, credential=key.key_id)

    def _without_new_credentials(self, identity: Identity) -> Identity:
        """Remove the credentials that Entra would not have replicated yet."""
        if not self._settings.propagation_seconds:
            return identity
        latest = self._clock() - self._settings.propagation_seconds
        replicated = tuple(each for each in identity.credentials if each.created <= latest)
        return replace(identity, credentials=replicated)

    async def _check_signature(
        self, assertion: UnverifiedAssertion, credential: FederatedCredential, record: RequestRecord
    ) -> None:
        try:
            # The issuer of the credential, not of the token: both are equal here, but this stays safe if the
            # matching changes.
            keys = await self._issuers.find_keys(credential.issuer, assertion.key_id)
        except IssuerUnavailable as exc:
            reason = str(exc.facts.get("reason"))
            record.add(reason=reason)
            raise AadstsError(numbers.ISSUER_UNREACHABLE, reason=describe_reason(reason)) from exc
        if not keys:
            raise AadstsError(
                numbers.KEY_NOT_PUBLISHED, key=key_hex(assertion.key_id), issuer=credential.issuer
            )
        for checked, key in enumerate(keys, start=1):
            record.signatures_checked = checked
            try:
                jose.verify(assertion.token, key)
            except jose.BadSignature:
                continue
            return
        raise AadstsError(numbers.WRONG_SIGNATURE)


def _federated(credential: FederatedCredential) -> ClientAuthentication:
    return ClientAuthentication(acr=Acr.ASSERTION, credential=credential.name, is_federated=True)


def _record_claims(assertion: UnverifiedAssertion, record: RequestRecord) -> None:
    record.add(
        iss=assertion.issuer,
        sub=assertion.subject,
        aud=assertion.audiences,
        kid=assertion.key_id,
        exp=assertion.expires,
    )
    if pod := read_pod(assertion.token):
        record.add(pod=pod)


def check_credential_parameters(request: TokenRequest) -> None:
    """Check that a request has exactly one credential, of a supported type.

    Raises AadstsError 9002313, 7000216, 900144.
    """
    assertion = request.get("client_assertion").strip()
    if assertion and request.get("client_secret"):
        both = AadstsError(
            numbers.MALFORMED_REQUEST, reason="client_assertion and client_secret in one request"
        )
        raise both.with_response(step="credential")
    if request.get("client_secret"):
        return
    if not assertion:
        raise AadstsError(numbers.CREDENTIAL_MISSING)
    kind = request.get("client_assertion_type")
    if not kind:
        raise AadstsError(numbers.MISSING_PARAMETER, name="client_assertion_type").with_response(
            step="credential"
        )
    if kind != names.JWT_BEARER:
        other = AadstsError(
            numbers.MALFORMED_REQUEST, reason=f"client_assertion_type is not {names.JWT_BEARER}"
        )
        raise other.with_response(step="credential")


def check_pod(assertion: UnverifiedAssertion) -> None:
    """Check that the token of a ServiceAccount is bound to a pod.

    Raises AadstsError 90014.
    """
    if assertion.subject.startswith(USERNAME_PREFIX) and not read_pod(assertion.token):
        raise AadstsError(numbers.MISSING_CLAIM, claim="kubernetes.io.pod").with_response(
            step="trust"
        )


def check_lifetime(assertion: UnverifiedAssertion, longest: int) -> None:
    """Check that the lifetime of an assertion (exp - iat) is not longer than allowed.

    Raises AadstsError 70023.
    """
    if assertion.expires - assertion.issued > longest:
        issued, expires = format_time(assertion.issued), format_time(assertion.expires)
        raise AadstsError(
            numbers.LIFETIME_TOO_LONG, longest=longest, issued=issued, expires=expires
        )


def check_time(assertion: UnverifiedAssertion, now: float, early: int) -> None:
    """Check that the time is from `nbf` to before `exp` (RFC 7519 section 4.1.4).

    Raises AadstsError 700024.
    """
    begins = max(assertion.issued, assertion.not_before or 0)
    if now < assertion.expires and begins <= now + early:
        return
    raise AadstsError(
        numbers.ASSERTION_NOT_CURRENT,
        now=format_time(now),
        begins=format_time(assertion.not_before or 0),
        expires=format_time(assertion.expires),
    )


def format_time(seconds: float) -> str:
    """Format a time as in Entra's messages; a time outside the calendar as a number."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.6g}" if isinstance(seconds, float) else "outside the calendar"
