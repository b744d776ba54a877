"""Issue the next version of a certificate, on request or when its policy requires it."""

import asyncio
import base64
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault.certificates import contacts, issuance, issuers, lifetime, records
from podpass.lab.services.vault.certificates.issuers import Signer
from podpass.lab.services.vault.certificates.pending import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    PendingOperation,
)
from podpass.lab.services.vault.certificates.policy import AUTO_RENEW, SELF, Policy
from podpass.lab.services.vault.certificates.records import CertificateSettings
from podpass.lab.services.vault.errors import BadParameter
from podpass.lab.services.vault.keys import views as key_views
from podpass.lab.services.vault.model import (
    CERTIFICATES,
    TYPE,
    AuditContext,
    MissingObject,
    ObjectAttributes,
    ObjectState,
    ObjectVersion,
)
from podpass.lab.services.vault.store import VaultStore

CREATE_CERTIFICATE = f"{TYPE}/{CERTIFICATES.plural}/create/action"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCertificate:
    """The input of a new version.

    `state` has the policy of the version, `previous` is the latest version. `signer` is the CA of the issuer;
    `error` is the reason why the issuer does not sign.
    """

    state: ObjectState
    previous: ObjectVersion | None
    attributes: ObjectAttributes
    now: float
    signer: Signer | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """A state with its operation, and its new version with views; none before a merge or after a failure."""

    state: ObjectState
    operation: PendingOperation
    versions: Sequence[ObjectVersion]

    async def write(
        self, store: VaultStore, audit: AuditContext, expected: ObjectState | None
    ) -> None:
        """Write all in one transaction; `expected` is None for a new one. Raises as `VaultStore.put`."""
        states = records.states_of(self.state)
        before = expected or MissingObject(collection=self.state.collection, name=self.state.name)
        if self.versions:
            await store.put(self.versions, audit, states=states, expected=before)
        else:
            await store.put_states(states, audit, expected=before)


def create(store: VaultStore, wanted: NewCertificate) -> Created:
    """Create the key, the request and, if an issuer signs, the certificate; RSA can take seconds."""
    settings, previous = CertificateSettings.of(wanted.state), wanted.previous
    policy = settings.policy
    key = _reuse_key(policy, previous) or issuance.generate_key(policy.key)
    request = issuance.build_request(policy, key)
    certificates = _sign(policy, key, request, wanted)
    status = COMPLETED if certificates else IN_PROGRESS if wanted.error is None else FAILED
    operation = PendingOperation(
        request_id=uuid.uuid4().hex,
        version=uuid.uuid4().hex,
        csr=base64.b64encode(request.public_bytes(Encoding.DER)).decode(),
        issuer=policy.issuer,
        status=status,
        created=int(wanted.now),
        key=None if certificates else store.seal_text(key_views.stored_value(key), wanted.state),
        exportable=policy.key.exportable,
        enabled=wanted.attributes.enabled,
        preserve_order=wanted.attributes.document.get("preserve_order"),
        tags=wanted.attributes.tags,
        error=wanted.error,
    )
    state = replace(wanted.state, settings=replace(settings, pending=operation).to_json())
    if not certificates:
        return Created(state=lifetime.plan(state, previous), operation=operation, versions=())
    version = records.new_certificate_version(
        state,
        certificates,
        key,
        wanted.attributes,
        wanted.now,
        version=operation.version,
        previous=previous,
    )
    return Created(
        state=lifetime.plan(state, version),
        operation=operation,
        versions=records.with_views(version),
    )


def _reuse_key(policy: Policy, previous: ObjectVersion | None) -> PrivateKey | None:
    """Return the key of the previous version if the policy reuses keys and has the same type."""
    if previous is None or not policy.key.reuse:
        return None
    # A key that was not exportable never becomes exportable, also if a later policy allows it.
    if policy.key.exportable and not previous.document["exportable"]:
        return None
    key = records.key_of(previous)
    return key if issuance.matches(key, policy.key) else None


def _sign(
    policy: Policy, key: PrivateKey, request: x509.CertificateSigningRequest, wanted: NewCertificate
) -> tuple[x509.Certificate, ...]:
    now = datetime.fromtimestamp(wanted.now, UTC)
    if policy.issuer == SELF:
        return (issuance.build_self_signed(policy, key, now),)
    if wanted.signer is None:
        return ()
    return issuance.sign_request(request, policy, wanted.signer, now), wanted.signer[0]


async def find_signer(
    store: VaultStore, collection: str, policy: Policy, now: float
) -> Signer | None:
    """Return the CA of the policy's issuer; None if the certificate is self-signed or merged.

    Raises BadParameter, CertificateIssuerUnavailable.
    """
    if policy.issuer == SELF or policy.is_merged:
        return None
    return await issuers.find_signer(store, collection, policy.issuer, now)


async def run_due(store: VaultStore, found: ObjectState, audit: AuditContext) -> None:
    """Run the lifetime actions of a certificate that are due.

    Raises OutdatedState if another request changes the certificate, and the errors of `create`.
    """
    if (latest := await store.get(found.collection, found.name)) is None:
        return
    if AUTO_RENEW in lifetime.due_actions(found, latest, audit.now):
        await _renew(store, found, latest, audit)
        return
    settings = CertificateSettings.of(found)
    extra = {"certificate": found.name, "contacts": await contacts.count(store, found.collection)}
    _log.info("certificate_expiry_reported", extra={"stage": "resource", **extra})
    noted = replace(found, settings=replace(settings, notified=latest.version).to_json())
    await store.put_states([lifetime.plan(noted, latest)], expected=found)


async def _renew(
    store: VaultStore, found: ObjectState, latest: ObjectVersion, audit: AuditContext
) -> None:
    policy = CertificateSettings.of(found).policy
    signer, error = None, None
    try:
        signer = await find_signer(store, found.collection, policy, audit.now)
    except BadParameter as exc:
        error = exc.message
        extra = {"stage": "resource", "certificate": found.name, "cause": error}
        _log.error("certificate_renewal_failed", extra=extra)
    preserved = {key: value for key, value in latest.document.items() if key == "preserve_order"}
    wanted = NewCertificate(
        state=found,
        previous=latest,
        attributes=ObjectAttributes(given=frozenset(), tags=latest.tags, document=preserved),
        now=audit.now,
        signer=signer,
        error=error,
    )
    made = await asyncio.to_thread(create, store, wanted)
    await made.write(store, replace(audit, action=CREATE_CERTIFICATE), found)
