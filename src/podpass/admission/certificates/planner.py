"""Decide the next step of the rotation from the observed state. Pure: no I/O and no clock.

    add      the new CA is in every caBundle next to the old CA; no replica serves a leaf of it
    promote  every API server trusts the new CA: it signs, and each replica serves its leaf once it observes
    it
    remove   no replica can serve the old leaf any more: the old CA is removed

The result is one step on the Secret. The write carries the resourceVersion that was read, so only one of two
concurrent replicas succeeds. Each replica measures the waits from its own reconciles, and the replicas share
only the Secret. So a replica that starts at any moment can continue the rotation; it only repeats the current
wait.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from podpass.admission.certificates.model import (
    AddCA,
    CertificateAuthority,
    CreateCA,
    LeafCertificate,
    ObservationHistory,
    ObservedState,
    PromoteCA,
    RemoveCA,
    RestoreCA,
    RotationPolicy,
    ServedCertificate,
    SignLeaf,
    Step,
    StoredCertificates,
)

_FIRST = "there is no serving certificate yet"
_DUE = "the certificate expires soon"


class CertificateIssuer(Protocol):
    """Creates keys and certificates."""

    def create_ca(self) -> CertificateAuthority: ...

    def sign_leaf(self, ca: CertificateAuthority) -> LeafCertificate: ...


def is_valid(certificate: CertificateAuthority | LeafCertificate, now: float) -> bool:
    return certificate.not_before <= now < certificate.not_after


def is_due(
    certificate: CertificateAuthority | LeafCertificate, now: float, policy: RotationPolicy
) -> bool:
    """Return whether a certificate expires so soon that it must be replaced."""
    return certificate.not_after <= now + policy.renew_before_seconds


def update_history(
    history: ObservationHistory,
    state: ObservedState,
    served: ServedCertificate | None,
    *,
    ticks: float,
    policy: RotationPolicy,
) -> ObservationHistory:
    """Add one reconcile to the history.

    For a CA that has not signed yet, any change of a configuration restarts the wait: between two reconciles
    a replica of azure-workload-identity, which observed the Secret late, may have removed the CA temporarily.

    An old CA counts as unused only while the Secret has a leaf of another CA that replicas can serve instead.

    After a disconnection, the replica counts as disconnected until it serves a leaf of the current CA. If the
    Secret was destroyed in between, there is no leaf to switch to, while other replicas may be about to
    remove the CA that this replica serves. Their timers stop when they observe that the Secret has no current
    CA; a replica that has not reconciled for that long restarts its timers.

    Units: `ticks` in monotonic seconds, read after the reconcile read the cluster.
    """
    certificates = state.certificates
    restarts = _list_interrupted(history, state, policy)
    is_late = ticks - history.observed_at >= policy.stale_seconds
    history = replace(reset_timers(history), empty_since=None) if is_late else history
    empty_since = history.empty_since
    if certificates.current:
        empty_since = None
    elif empty_since is None:
        empty_since = ticks
    is_over = _is_current(certificates.current, served) or (
        empty_since is not None and ticks - empty_since >= policy.stale_seconds
    )
    return ObservationHistory(
        observed_at=ticks,
        was_disconnected=(is_late or history.was_disconnected) and not is_over,
        served_was_trusted=served is not None
        and (history.served_was_trusted or state.is_in_all_bundles(served.ca.id)),
        version=state.version,
        empty_since=empty_since,
        trusted_since={
            each.id: ticks if each.id in restarts else history.trusted_since.get(each.id, ticks)
            for each in certificates.cas
            if state.is_in_all_bundles(each.id)
        },
        unused_since={
            each.id: history.unused_since.get(each.id, ticks)
            for each in certificates.old
            if certificates.leaf
        },
        first_seen_at={
            each.id: history.first_seen_at.get(each.id, ticks) for each in certificates.cas
        },
    )


def _list_interrupted(
    history: ObservationHistory, state: ObservedState, policy: RotationPolicy
) -> set[str]:
    """Return the ids of CAs that have not signed yet and may have been missing since the last reconcile.

    For the CA of a first leaf this counts only until every API server and replica must have observed it.
    Otherwise a writer that repeatedly changes a configuration could delay the first leaf forever.
    """
    if history.version == state.version:
        return set()
    certificates, fresh = state.certificates, history.observed_at - policy.propagation_seconds
    found = {certificates.added.id} if certificates.added else set()
    if (
        certificates.current
        and not certificates.leaf
        and history.first_seen_at.get(certificates.current.id, history.observed_at) >= fresh
    ):
        found.add(certificates.current.id)
    return found


def _is_current(current: CertificateAuthority | None, served: ServedCertificate | None) -> bool:
    return current is not None and served is not None and current.id == served.ca.id


def reset_timers(history: ObservationHistory) -> ObservationHistory:
    """Restart the timers for the removal of old CAs.

    A replica that failed to read the Secret does not know whether other replicas read it. And while the API
    server is unavailable, the API server cannot observe that a replica is no longer ready.
    """
    return replace(history, unused_since={}, served_was_trusted=False)


def plan_step(
    state: ObservedState,
    history: ObservationHistory,
    served: ServedCertificate | None,
    *,
    now: float,
    ticks: float,
    policy: RotationPolicy,
) -> Step | None:
    """Return the next step on the Secret, or None if there is nothing to do or a wait has not ended.

    Units: `now` in seconds since the epoch, `ticks` in monotonic seconds.
    """
    certificates, current = state.certificates, state.certificates.current
    can_promote = certificates.added is not None and is_valid(certificates.added, now)
    if current is None or not (can_promote or is_valid(current, now)):
        return CreateCA(_list_trusted(state, history, served), _creation_reason(certificates, now))
    if served is not None and _was_removed(state, served.ca):
        return RestoreCA(served.ca)
    # A first leaf waits until its CA is trusted everywhere. A leaf that replaces another one does not wait.
    can_sign = certificates.leaf is not None or _is_propagated(current, history, ticks, policy)
    if can_sign and (why := _signing_reason(certificates, now, policy)):
        return SignLeaf(why)
    if can_promote:
        assert certificates.added is not None
        return PromoteCA() if _is_propagated(certificates.added, history, ticks, policy) else None
    if is_due(current, now, policy):
        return AddCA()
    removable = frozenset(_list_removable(history, served, ticks, policy))
    return RemoveCA(removable) if removable else None


def apply_step(
    certificates: StoredCertificates, step: Step, issuer: CertificateIssuer
) -> StoredCertificates:
    """Return the Secret's contents after a step."""
    current = certificates.current
    match step:
        case CreateCA(old):
            return StoredCertificates(current=issuer.create_ca(), old=old)
        case RestoreCA(ca):
            return replace(certificates, old=(replace(ca, key=b""), *certificates.old))
        case RemoveCA(ids):
            remaining = tuple(each for each in certificates.old if each.id not in ids)
            return replace(certificates, old=remaining)
    assert current is not None  # `plan_step` chooses the other steps only with a current CA
    match step:
        case SignLeaf():
            return replace(certificates, leaf=issuer.sign_leaf(current))
        case AddCA():
            # This may replace an added CA that expired before it signed: no leaf depends on it.
            return replace(certificates, added=issuer.create_ca())
        case PromoteCA():
            assert certificates.added is not None
            leaf = issuer.sign_leaf(certificates.added)
            old = (replace(current, key=b""), *certificates.old)
            return StoredCertificates(current=certificates.added, leaf=leaf, old=old)


def should_serve(
    state: ObservedState,
    history: ObservationHistory,
    served: ServedCertificate | None,
    *,
    now: float,
    ticks: float,
    policy: RotationPolicy,
) -> bool:
    """Return whether the replica should serve the Secret's leaf from now on.

    The replica decides from its own reconciles, because a replica of azure-workload-identity changes CA
    and leaf in one step, before API servers trust the new CA. A replica that was disconnected switches
    immediately: other replicas may be about to remove the CA of its leaf, and it receives no calls while it
    is not ready.
    """
    leaf, current = state.certificates.leaf, state.certificates.current
    if leaf is None or current is None:
        return False
    if served is None:
        return True
    if leaf.chain == served.leaf.chain or (is_valid(served.leaf, now) and not is_valid(leaf, now)):
        return False
    if leaf.ca_id == served.ca.id or history.was_disconnected:
        return True
    if _is_propagated(current, history, ticks, policy):
        return True
    # API servers no longer trust the served leaf; they will trust the Secret's leaf soon.
    return state.is_in_all_bundles(current.id) and not state.is_in_all_bundles(served.ca.id)


def seconds_to_next_step(
    history: ObservationHistory, ticks: float, policy: RotationPolicy
) -> float | None:
    """Return the seconds until the next wait ends, or None if there is no wait."""
    ends = [since + policy.propagation_seconds for since in history.trusted_since.values()]
    ends += [since + policy.overlap_seconds for since in history.unused_since.values()]
    return min((end - ticks for end in ends if end > ticks), default=None)


def is_repair(step: Step) -> bool:
    """Return whether a step repairs a damaged Secret; such a step may become necessary again immediately."""
    usual = (_FIRST, _DUE)
    return isinstance(step, CreateCA) or (isinstance(step, SignLeaf) and step.why not in usual)


def _creation_reason(certificates: StoredCertificates, now: float) -> str:
    if certificates.faults:
        return "; ".join(certificates.faults)
    if certificates.current is None:
        return "the Secret is empty"
    has_expired = certificates.current.not_after <= now
    return "the CA has expired" if has_expired else "the CA is not valid yet"


def _signing_reason(certificates: StoredCertificates, now: float, policy: RotationPolicy) -> str:
    """Return why the current CA must sign a leaf, or an empty text if it need not."""
    assert certificates.current is not None
    if not is_valid(certificates.current, now):
        return ""
    if certificates.leaf is None:
        return "; ".join(certificates.faults) or _FIRST
    if not is_valid(certificates.leaf, now):
        has_expired = certificates.leaf.not_after <= now
        return "the certificate has expired" if has_expired else "the certificate is not valid yet"
    renewed_by_promotion = is_due(certificates.current, now, policy)
    return _DUE if is_due(certificates.leaf, now, policy) and not renewed_by_promotion else ""


def _is_propagated(
    ca: CertificateAuthority, history: ObservationHistory, ticks: float, policy: RotationPolicy
) -> bool:
    """Return whether the CA has been in every bundle for the propagation time."""
    since = history.trusted_since.get(ca.id)
    return since is not None and ticks - since >= policy.propagation_seconds


def _list_removable(
    history: ObservationHistory,
    served: ServedCertificate | None,
    ticks: float,
    policy: RotationPolicy,
) -> Iterator[str]:
    for ca_id, since in history.unused_since.items():
        is_served_here = served is not None and served.ca.id == ca_id
        if ticks - since >= policy.overlap_seconds and not is_served_here:
            yield ca_id


def _list_trusted(
    state: ObservedState, history: ObservationHistory, served: ServedCertificate | None
) -> tuple[CertificateAuthority, ...]:
    """Return the CAs whose leaf a replica may still serve; used when the Secret no longer contains them.

    Such a CA is in every bundle. If another writer has just overwritten the bundles too, the CA of the leaf
    that this replica serves counts as well, but not after a disconnection: other replicas may have removed it
    and must not find it again.
    """
    own = (served.ca,) if served is not None and history.served_was_trusted else ()
    candidates = (*state.certificates.cas, *state.own_cas)
    found = (each for each in candidates if state.is_in_all_bundles(each.id))
    every = {each.id: each for each in (*found, *own)}
    return tuple(replace(each, key=b"") for each in every.values())


def _was_removed(state: ObservedState, served: CertificateAuthority) -> bool:
    """Return whether another writer replaced the CA of the served leaf without an overlap."""
    known = {each.id for each in state.certificates.cas}
    return served.id not in known and state.is_in_all_bundles(served.id)
