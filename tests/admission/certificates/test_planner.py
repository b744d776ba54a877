"""The next step at every boundary in time; `test_interleavings` tests sequences of steps."""

from dataclasses import replace

import pytest

from podpass.admission.certificates import planner
from podpass.admission.certificates.ca_injector import RepairBackoff
from podpass.admission.certificates.model import (
    AddCA,
    CertificateAuthority,
    CreateCA,
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
from podpass.errors import SettingsError
from tests.admission.certificates.fake_issuer import NOW, POLICY, FakeIssuer

DAY = 24 * 3600
TICKS = 1000.0
ISSUER = FakeIssuer()
A, B, C = (ISSUER.create_ca() for _ in range(3))
LEAF = ISSUER.sign_leaf(A)
STEADY = StoredCertificates(current=A, leaf=LEAF)
SERVED = ServedCertificate(leaf=LEAF, ca=A)
DUE = A.not_after - POLICY.renew_before_seconds


def observe(
    certificates: StoredCertificates,
    *bundles: set[str],
    found: tuple[CertificateAuthority, ...] = (),
) -> ObservedState:
    """Return the observed state for these bundles, by default one bundle with all CAs of the Secret."""
    whole = [frozenset(each.id for each in certificates.cas)]
    given = [frozenset(each) for each in bundles] or whole
    return ObservedState(certificates=certificates, bundles=given, own_cas=found)


def trusted_history(
    *authorities: CertificateAuthority, since: float = TICKS - POLICY.propagation_seconds
) -> ObservationHistory:
    return ObservationHistory(
        observed_at=TICKS - 1, trusted_since={each.id: since for each in authorities}
    )


def plan(
    certificates: StoredCertificates,
    history: ObservationHistory | None = None,
    *,
    now: float = NOW,
    served: ServedCertificate | None = SERVED,
    state: ObservedState | None = None,
) -> Step | None:
    return planner.plan_step(
        state or observe(certificates),
        history or trusted_history(A, B),
        served,
        now=now,
        ticks=TICKS,
        policy=POLICY,
    )


def should_serve_leaf(
    certificates: StoredCertificates,
    history: ObservationHistory,
    state: ObservedState | None = None,
    *,
    now: float = NOW,
) -> bool:
    return planner.should_serve(
        state or observe(certificates), history, SERVED, now=now, ticks=TICKS, policy=POLICY
    )


def test_default_policy_renews_a_leaf_one_day_earlier_than_the_reference() -> None:
    """Fails if replicas of the reference, which rotate without an overlap, could rotate first."""
    assert RotationPolicy().renew_before_seconds == 91 * DAY
    assert RotationPolicy().leaf_seconds == 365 * DAY
    assert RotationPolicy().ca_seconds == 3650 * DAY


@pytest.mark.parametrize(
    "wrong",
    [
        {"propagation_seconds": 0},
        {"check_seconds": -1},
        {"overlap_seconds": float("nan")},
        {"renew_before_seconds": 365 * DAY},
        {"propagation_seconds": 10, "overlap_seconds": 39},
    ],
)
def test_policy_without_enough_time_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        RotationPolicy(**wrong)


def test_valid_certificates_need_no_step() -> None:
    assert plan(STEADY, now=LEAF.not_after - POLICY.renew_before_seconds - 1) is None


def test_leaf_that_expires_soon_is_renewed_by_the_same_ca() -> None:
    moment = LEAF.not_after - POLICY.renew_before_seconds
    assert isinstance(plan(STEADY, now=moment), SignLeaf)
    made = planner.apply_step(STEADY, SignLeaf(""), ISSUER)
    assert made.cas == (A,)
    assert made.leaf is not None
    assert made.leaf.ca_id == A.id
    assert made.leaf != LEAF


def test_new_ca_is_added_without_signing_when_ca_expires_soon() -> None:
    fresh = replace(STEADY, leaf=ISSUER.sign_leaf(A))
    assert not isinstance(plan(fresh, now=DUE - 1), AddCA)
    assert isinstance(plan(fresh, now=DUE), AddCA)
    added = planner.apply_step(STEADY, AddCA(), ISSUER)
    assert added.current == A
    assert added.leaf == LEAF
    assert added.added is not None
    assert added.added.key


def test_added_ca_is_promoted_after_propagation() -> None:
    added = replace(STEADY, added=B)
    early = trusted_history(A, B, since=TICKS - POLICY.propagation_seconds + 0.1)
    assert plan(added, early, now=DUE) is None
    assert plan(added, trusted_history(A), now=DUE) is None
    assert isinstance(plan(added, trusted_history(A, B), now=DUE), PromoteCA)
    promoted = planner.apply_step(added, PromoteCA(), ISSUER)
    assert promoted.current == B
    assert promoted.leaf is not None
    assert promoted.leaf.ca_id == B.id
    assert promoted.old == (replace(A, key=b""),), "the key of an old CA is deleted"
    assert promoted.added is None


def test_changed_configuration_restarts_the_wait_of_an_added_ca() -> None:
    """A slow replica of the reference may have removed the CA between two reconciles.

    Fails if only the states at the reconciles count.
    """
    added = replace(STEADY, added=B)
    state = replace(observe(added), version=("1",))
    history = planner.update_history(ObservationHistory(), state, SERVED, ticks=100, policy=POLICY)
    history = planner.update_history(history, state, SERVED, ticks=105, policy=POLICY)
    assert history.trusted_since == {A.id: 100, B.id: 100}
    history = planner.update_history(
        history, replace(state, version=("3",)), SERVED, ticks=109, policy=POLICY
    )
    assert history.trusted_since == {A.id: 100, B.id: 109}


def test_added_ca_that_expired_is_replaced_by_another() -> None:
    added = replace(STEADY, added=replace(B, not_after=DUE))
    assert isinstance(plan(added, now=DUE), AddCA)
    again = planner.apply_step(added, AddCA(), ISSUER)
    assert B.id not in {each.id for each in again.cas}


def test_old_ca_is_removed_after_the_overlap_unless_it_is_served() -> None:
    promoted = StoredCertificates(current=B, leaf=ISSUER.sign_leaf(B), old=(A,))
    history = replace(trusted_history(A, B), unused_since={A.id: TICKS - POLICY.overlap_seconds})
    elsewhere = ServedCertificate(leaf=ISSUER.sign_leaf(B), ca=B)
    assert plan(promoted, history, served=elsewhere) == RemoveCA(frozenset({A.id}))
    assert plan(promoted, history, served=SERVED) is None
    early = replace(history, unused_since={A.id: TICKS - POLICY.overlap_seconds + 0.1})
    assert plan(promoted, early, served=elsewhere) is None
    assert planner.apply_step(promoted, RemoveCA(frozenset({A.id})), ISSUER).old == ()


def test_overlap_restarts_after_a_disconnection() -> None:
    promoted = StoredCertificates(current=B, leaf=ISSUER.sign_leaf(B), old=(A,))
    history = planner.update_history(
        ObservationHistory(), observe(promoted), SERVED, ticks=100, policy=POLICY
    )
    history = planner.update_history(history, observe(promoted), SERVED, ticks=120, policy=POLICY)
    assert history.unused_since == {A.id: 100}
    lost = planner.reset_timers(history)
    assert planner.update_history(
        lost, observe(promoted), SERVED, ticks=125, policy=POLICY
    ).unused_since == {A.id: 125}
    late = 120 + POLICY.stale_seconds
    assert planner.update_history(
        history, observe(promoted), SERVED, ticks=late, policy=POLICY
    ).unused_since == {A.id: late}


def test_first_leaf_waits_until_its_ca_is_trusted() -> None:
    """A replica that starts serves the Secret's leaf immediately, so the leaf must not be stored earlier."""
    empty_since = StoredCertificates(current=A)
    assert plan(empty_since, trusted_history(A, since=TICKS - 1), served=None) is None
    assert isinstance(plan(empty_since, trusted_history(A), served=None), SignLeaf)


@pytest.mark.parametrize(
    ("since_met", "counted_from"),
    [(POLICY.propagation_seconds, TICKS), (POLICY.propagation_seconds + 0.1, 1)],
)
def test_wait_for_first_leaf_restarts_until_all_have_observed_the_ca(
    since_met: float, counted_from: float
) -> None:
    """After that, a writer that repeatedly changes a configuration must not delay the leaf further."""
    empty_since, observed_at = StoredCertificates(current=A), TICKS - 1
    history = ObservationHistory(
        observed_at=observed_at,
        trusted_since={A.id: 1},
        first_seen_at={A.id: observed_at - since_met},
        version=("1",),
    )
    state = replace(observe(empty_since), version=("2",))
    found = planner.update_history(history, state, None, ticks=TICKS, policy=POLICY).trusted_since
    assert found == {A.id: counted_from}
    unseen = replace(history, first_seen_at={})
    assert planner.update_history(
        unseen, state, None, ticks=TICKS, policy=POLICY
    ).trusted_since == {A.id: TICKS}


def test_replacement_leaf_does_not_wait() -> None:
    assert isinstance(plan(STEADY, ObservationHistory(), now=LEAF.not_after), SignLeaf)


@pytest.mark.parametrize(
    ("certificates", "now", "why"),
    [
        (StoredCertificates(), NOW, "the Secret is empty"),
        (
            StoredCertificates(faults=("ca.key cannot be read",), old=(A,)),
            NOW,
            "ca.key cannot be read",
        ),
        (STEADY, A.not_after, "the CA has expired"),
        (STEADY, A.not_before - 1, "the CA is not valid yet"),
    ],
)
def test_unusable_secret_gets_a_new_ca(
    certificates: StoredCertificates, now: float, why: str
) -> None:
    made = plan(certificates, now=now, served=None)
    assert isinstance(made, CreateCA)
    assert made.why == why
    assert planner.is_repair(made)
    created = planner.apply_step(certificates, made, ISSUER)
    assert created.leaf is None, "its CA is not trusted yet"
    assert created.current is not None
    assert created.old == tuple(replace(each, key=b"") for each in certificates.cas)


def test_new_ca_keeps_cas_of_every_bundle_and_of_the_served_leaf() -> None:
    history = replace(trusted_history(), served_was_trusted=True)
    state = observe(StoredCertificates(), {B.id, C.id}, {B.id}, found=(B, C, B))
    made = plan(StoredCertificates(), history, state=state)
    assert isinstance(made, CreateCA)
    assert {each.id for each in made.old} == {A.id, B.id}
    # After a disconnection the served CA may have been removed, and must not return.
    reconnected = plan(StoredCertificates(), trusted_history(), state=state)
    assert isinstance(reconnected, CreateCA)
    assert {each.id for each in reconnected.old} == {B.id}


def test_removed_ca_is_restored_while_served_and_trusted() -> None:
    other = StoredCertificates(current=B, leaf=ISSUER.sign_leaf(B))
    trusted_since = observe(other, {A.id})
    assert plan(other, trusted_history(), state=trusted_since) == RestoreCA(A)
    assert planner.apply_step(other, RestoreCA(A), ISSUER).old == (replace(A, key=b""),)
    assert plan(other, trusted_history(B), state=observe(other, {B.id})) is None, (
        "it is no longer trusted"
    )


def test_leaf_of_another_ca_is_served_only_after_propagation() -> None:
    """Fails if the bundles are not checked: the reference changes CA and leaf in one step."""
    other = StoredCertificates(current=B, leaf=ISSUER.sign_leaf(B), old=(A,))
    assert not should_serve_leaf(other, trusted_history(A))
    assert not should_serve_leaf(
        other, trusted_history(A, B, since=TICKS - POLICY.propagation_seconds + 0.1)
    )
    assert should_serve_leaf(other, trusted_history(A, B))


def test_leaf_of_another_ca_is_served_immediately_if_served_ca_is_untrusted() -> None:
    other = StoredCertificates(current=B, leaf=ISSUER.sign_leaf(B))
    assert should_serve_leaf(other, ObservationHistory(observed_at=TICKS), observe(other, {B.id}))
    assert not should_serve_leaf(
        other, ObservationHistory(observed_at=TICKS), observe(other, set())
    )


def test_reconnected_replica_serves_the_secrets_leaf_immediately() -> None:
    """The served CA may be removed at any moment. Fails if such a replica waits like the others."""
    other = StoredCertificates(current=B, leaf=ISSUER.sign_leaf(B), old=(A,))
    history = ObservationHistory(observed_at=TICKS - POLICY.stale_seconds)
    assert should_serve_leaf(
        other, planner.update_history(history, observe(other), SERVED, ticks=TICKS, policy=POLICY)
    )
    history = ObservationHistory(observed_at=TICKS - POLICY.stale_seconds + 0.1)
    assert not should_serve_leaf(
        other, planner.update_history(history, observe(other), SERVED, ticks=TICKS, policy=POLICY)
    )


def test_disconnection_without_rotation_ends_at_the_first_reconcile() -> None:
    """Fails if a Secret that is emptied directly afterwards makes this replica unready unnecessarily."""
    history = ObservationHistory(observed_at=TICKS - POLICY.stale_seconds)
    assert not planner.update_history(
        history, observe(STEADY), SERVED, ticks=TICKS, policy=POLICY
    ).was_disconnected
    leafless = replace(STEADY, leaf=None)
    assert not planner.update_history(
        history, observe(leafless), SERVED, ticks=TICKS, policy=POLICY
    ).was_disconnected
    for removed in (
        StoredCertificates(current=B, old=(A,)),
        StoredCertificates(old=(A,)),
        StoredCertificates(),
    ):
        assert planner.update_history(
            history, observe(removed), SERVED, ticks=TICKS, policy=POLICY
        ).was_disconnected


def test_leaf_of_the_same_ca_is_served_immediately_unless_expired() -> None:
    renewed = replace(STEADY, leaf=ISSUER.sign_leaf(A))
    assert should_serve_leaf(renewed, ObservationHistory(observed_at=TICKS))
    assert not should_serve_leaf(STEADY, ObservationHistory(observed_at=TICKS))
    ended = replace(STEADY, leaf=replace(ISSUER.sign_leaf(A), not_after=NOW))
    assert not should_serve_leaf(ended, ObservationHistory(observed_at=TICKS))
    # With a wrong clock both have expired; then the leaf of the Secret is used.
    assert should_serve_leaf(ended, ObservationHistory(observed_at=TICKS), now=NOW * 2)


def test_next_reconcile_is_at_the_end_of_the_next_wait() -> None:
    history = ObservationHistory(
        trusted_since={A.id: 0, B.id: TICKS - 4}, unused_since={C.id: TICKS - 97}
    )
    assert planner.seconds_to_next_step(history, TICKS, POLICY) == 3
    assert (
        planner.seconds_to_next_step(ObservationHistory(trusted_since={A.id: 0}), TICKS, POLICY)
        is None
    )


def test_step_is_a_repair_only_if_the_secret_has_faults() -> None:
    assert not planner.is_repair(AddCA())
    due = plan(STEADY, now=LEAF.not_after - POLICY.renew_before_seconds)
    first = plan(StoredCertificates(current=A), served=None)
    broken = plan(StoredCertificates(current=A, faults=("tls.crt cannot be read",)), served=None)
    assert [each is not None and planner.is_repair(each) for each in (due, first, broken)] == [
        False,
        False,
        True,
    ]


def test_first_repair_is_immediate_and_later_ones_back_off() -> None:
    now = [100.0]
    backoff = RepairBackoff(lambda: now[0], 1, 8)
    gaps: list[float] = []
    for _ in range(6):
        assert backoff.is_ready
        backoff.record()
        assert not backoff.is_ready
        gaps.append(backoff.wait_seconds)
        now[0] += backoff.wait_seconds
    assert gaps == [1, 2, 4, 8, 8, 8]
    assert backoff.is_conflicting


def test_backoff_resets_after_a_quiet_time() -> None:
    now = [100.0]
    backoff = RepairBackoff(lambda: now[0], 1, 8)
    for _ in range(3):
        backoff.record()
        now[0] += backoff.wait_seconds
    assert backoff.is_conflicting
    now[0] += 4 * 4
    assert not backoff.is_conflicting
    backoff.record()
    assert backoff.wait_seconds == 1
