"""The next step, at every edge in time; whatever happens in between is in `test_interleavings`."""

from dataclasses import replace

import pytest

from podpass.admission.certificates import planner
from podpass.admission.certificates.model import (
    Authority,
    Drop,
    Held,
    Join,
    Keep,
    Make,
    Plan,
    Seen,
    Served,
    Sight,
    Sign,
    Step,
    Turn,
)
from podpass.errors import SettingsError
from tests.admission.certificates.world import NOW, PLAN, Numbered

DAY = 24 * 3600
TICKS = 1000.0
MAKER = Numbered()
A, B, C = (MAKER.authority() for _ in range(3))
LEAF = MAKER.leaf(A)
STEADY = Held(current=A, leaf=LEAF)
SERVED = Served(leaf=LEAF, authority=A)
DUE = A.not_after - PLAN.look_ahead_seconds


def seeing(held: Held, *bundles: set[str], found: tuple[Authority, ...] = ()) -> Sight:
    """See these bundles; without any, one with everything that the Secret has."""
    whole = [frozenset(each.id for each in held.authorities)]
    given = [frozenset(each) for each in bundles] or whole
    return Sight(held=held, bundles=given, found=found)


def trusting(*authorities: Authority, since: float = TICKS - PLAN.lag_seconds) -> Seen:
    return Seen(looked=TICKS - 1, trusted={each.id: since for each in authorities})


def step(
    held: Held,
    seen: Seen | None = None,
    *,
    now: float = NOW,
    served: Served | None = SERVED,
    sight: Sight | None = None,
) -> Step | None:
    return planner.decide(
        sight or seeing(held), seen or trusting(A, B), served, now=now, ticks=TICKS, plan=PLAN
    )


def takes(held: Held, seen: Seen, sight: Sight | None = None, *, now: float = NOW) -> bool:
    return planner.takes(sight or seeing(held), seen, SERVED, now=now, ticks=TICKS, plan=PLAN)


def test_by_default_a_day_before_the_reference_would() -> None:
    """Fails if the reference's replicas, which rotate without an overlap, could be quicker."""
    assert Plan().look_ahead_seconds == 91 * DAY
    assert Plan().leaf_seconds == 365 * DAY
    assert Plan().ca_seconds == 3650 * DAY


@pytest.mark.parametrize(
    "wrong",
    [
        {"lag_seconds": 0},
        {"check_seconds": -1},
        {"linger_seconds": float("nan")},
        {"look_ahead_seconds": 365 * DAY},
        {"lag_seconds": 10, "linger_seconds": 39},
    ],
)
def test_a_plan_that_leaves_no_time_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        Plan(**wrong)


def test_there_is_nothing_to_do_about_certificates_that_last() -> None:
    assert step(STEADY, now=LEAF.not_after - PLAN.look_ahead_seconds - 1) is None


def test_a_leaf_that_ends_soon_is_signed_by_the_same_authority() -> None:
    moment = LEAF.not_after - PLAN.look_ahead_seconds
    assert isinstance(step(STEADY, now=moment), Sign)
    made = planner.changed(STEADY, Sign(""), MAKER)
    assert made.authorities == (A,)
    assert made.leaf is not None
    assert made.leaf.authority == A.id
    assert made.leaf != LEAF


def test_an_authority_that_ends_soon_is_joined_by_another_which_does_not_sign() -> None:
    fresh = replace(STEADY, leaf=MAKER.leaf(A))
    assert not isinstance(step(fresh, now=DUE - 1), Join)
    assert isinstance(step(fresh, now=DUE), Join)
    joined = planner.changed(STEADY, Join(), MAKER)
    assert joined.current == A
    assert joined.leaf == LEAF
    assert joined.coming is not None
    assert joined.coming.key


def test_one_that_has_joined_signs_when_every_api_server_has_heard_of_it() -> None:
    joined = replace(STEADY, coming=B)
    early = trusting(A, B, since=TICKS - PLAN.lag_seconds + 0.1)
    assert step(joined, early, now=DUE) is None
    assert step(joined, trusting(A), now=DUE) is None
    assert isinstance(step(joined, trusting(A, B), now=DUE), Turn)
    turned = planner.changed(joined, Turn(), MAKER)
    assert turned.current == B
    assert turned.leaf is not None
    assert turned.leaf.authority == B.id
    assert turned.old == (replace(A, key=b""),), "nobody signs with an old key any more"
    assert turned.coming is None


def test_any_change_of_a_configuration_makes_one_that_joined_wait_anew() -> None:
    """A reference's replica that is slow to hear may have taken it out between two looks.

    Fails if only the two looks count.
    """
    joined = replace(STEADY, coming=B)
    sight = replace(seeing(joined), version=("1",))
    seen = planner.noted(Seen(), sight, SERVED, ticks=100, plan=PLAN)
    seen = planner.noted(seen, sight, SERVED, ticks=105, plan=PLAN)
    assert seen.trusted == {A.id: 100, B.id: 100}
    seen = planner.noted(seen, replace(sight, version=("3",)), SERVED, ticks=109, plan=PLAN)
    assert seen.trusted == {A.id: 100, B.id: 109}


def test_one_that_joined_and_came_too_late_gives_way_to_another() -> None:
    joined = replace(STEADY, coming=replace(B, not_after=DUE))
    assert isinstance(step(joined, now=DUE), Join)
    again = planner.changed(joined, Join(), MAKER)
    assert B.id not in {each.id for each in again.authorities}


def test_an_old_authority_leaves_when_it_has_lingered_unless_it_is_served_here() -> None:
    turned = Held(current=B, leaf=MAKER.leaf(B), old=(A,))
    seen = replace(trusting(A, B), old={A.id: TICKS - PLAN.linger_seconds})
    elsewhere = Served(leaf=MAKER.leaf(B), authority=B)
    assert step(turned, seen, served=elsewhere) == Drop(frozenset({A.id}))
    assert step(turned, seen, served=SERVED) is None
    early = replace(seen, old={A.id: TICKS - PLAN.linger_seconds + 0.1})
    assert step(turned, early, served=elsewhere) is None
    assert planner.changed(turned, Drop(frozenset({A.id})), MAKER).old == ()


def test_how_long_an_old_one_lingers_is_counted_anew_after_a_silence() -> None:
    turned = Held(current=B, leaf=MAKER.leaf(B), old=(A,))
    seen = planner.noted(Seen(), seeing(turned), SERVED, ticks=100, plan=PLAN)
    seen = planner.noted(seen, seeing(turned), SERVED, ticks=120, plan=PLAN)
    assert seen.old == {A.id: 100}
    lost = planner.out_of_touch(seen)
    assert planner.noted(lost, seeing(turned), SERVED, ticks=125, plan=PLAN).old == {A.id: 125}
    late = 120 + PLAN.stale_seconds
    assert planner.noted(seen, seeing(turned), SERVED, ticks=late, plan=PLAN).old == {A.id: late}


def test_a_first_leaf_waits_until_it_will_be_trusted() -> None:
    """Whoever starts now takes the Secret's leaf at once, so it must not lie there before."""
    empty = Held(current=A)
    assert step(empty, trusting(A, since=TICKS - 1), served=None) is None
    assert isinstance(step(empty, trusting(A), served=None), Sign)


@pytest.mark.parametrize(
    ("since_met", "counted_from"), [(PLAN.lag_seconds, TICKS), (PLAN.lag_seconds + 0.1, 1)]
)
def test_a_first_leafs_wait_begins_anew_while_others_may_not_have_heard(
    since_met: float, counted_from: float
) -> None:
    """By then all have: who still changes a configuration may not keep a leaf away for ever."""
    empty, looked = Held(current=A), TICKS - 1
    seen = Seen(looked=looked, trusted={A.id: 1}, met={A.id: looked - since_met}, version=("1",))
    sight = replace(seeing(empty), version=("2",))
    found = planner.noted(seen, sight, None, ticks=TICKS, plan=PLAN).trusted
    assert found == {A.id: counted_from}
    unmet = replace(seen, met={})
    assert planner.noted(unmet, sight, None, ticks=TICKS, plan=PLAN).trusted == {A.id: TICKS}


def test_a_leaf_in_place_of_another_does_not_wait() -> None:
    assert isinstance(step(STEADY, Seen(), now=LEAF.not_after), Sign)


@pytest.mark.parametrize(
    ("held", "now", "why"),
    [
        (Held(), NOW, "the Secret is empty"),
        (Held(faults=("ca.key cannot be read",), old=(A,)), NOW, "ca.key cannot be read"),
        (STEADY, A.not_after, "the authority has expired"),
        (STEADY, A.not_before - 1, "the authority is not valid yet"),
    ],
)
def test_a_secret_that_cannot_be_used_is_begun_anew(held: Held, now: float, why: str) -> None:
    made = step(held, now=now, served=None)
    assert isinstance(made, Make)
    assert made.why == why
    assert planner.is_repair(made)
    anew = planner.changed(held, made, MAKER)
    assert anew.leaf is None, "its authority is not known yet"
    assert anew.current is not None
    assert anew.old == tuple(replace(each, key=b"") for each in held.authorities)


def test_beginning_anew_keeps_what_is_in_every_bundle_and_what_is_served_here() -> None:
    seen = replace(trusting(), in_use=True)
    sight = seeing(Held(), {B.id, C.id}, {B.id}, found=(B, C, B))
    made = step(Held(), seen, sight=sight)
    assert isinstance(made, Make)
    assert {each.id for each in made.old} == {A.id, B.id}
    # After a silence: what is served here may have left, and no API server expects it back.
    silent = step(Held(), trusting(), sight=sight)
    assert isinstance(silent, Make)
    assert {each.id for each in silent.old} == {B.id}


def test_one_that_was_thrown_out_while_it_is_served_and_trusted_is_taken_back() -> None:
    other = Held(current=B, leaf=MAKER.leaf(B))
    trusted = seeing(other, {A.id})
    assert step(other, trusting(), sight=trusted) == Keep(A)
    assert planner.changed(other, Keep(A), MAKER).old == (replace(A, key=b""),)
    assert step(other, trusting(B), sight=seeing(other, {B.id})) is None, "its trust is gone"


def test_another_authoritys_leaf_is_not_served_before_every_api_server_has_heard_of_it() -> None:
    """The reference changes both in one step. Fails if the Secret's word is enough."""
    other = Held(current=B, leaf=MAKER.leaf(B), old=(A,))
    assert not takes(other, trusting(A))
    assert not takes(other, trusting(A, B, since=TICKS - PLAN.lag_seconds + 0.1))
    assert takes(other, trusting(A, B))


def test_another_authoritys_leaf_is_served_at_once_when_ours_has_lost_its_trust() -> None:
    other = Held(current=B, leaf=MAKER.leaf(B))
    assert takes(other, Seen(looked=TICKS), seeing(other, {B.id}))
    assert not takes(other, Seen(looked=TICKS), seeing(other, set()))


def test_after_a_silence_the_secrets_leaf_is_served_at_once() -> None:
    """What is served may leave any moment. Fails if such a replica waits as the others do."""
    other = Held(current=B, leaf=MAKER.leaf(B), old=(A,))
    seen = Seen(looked=TICKS - PLAN.stale_seconds)
    assert takes(other, planner.noted(seen, seeing(other), SERVED, ticks=TICKS, plan=PLAN))
    seen = Seen(looked=TICKS - PLAN.stale_seconds + 0.1)
    assert not takes(other, planner.noted(seen, seeing(other), SERVED, ticks=TICKS, plan=PLAN))


def test_a_silence_in_which_nothing_changed_is_over_with_its_first_look() -> None:
    """Fails if a Secret that is emptied a moment later finds this replica unready, for nothing."""
    seen = Seen(looked=TICKS - PLAN.stale_seconds)
    assert not planner.noted(seen, seeing(STEADY), SERVED, ticks=TICKS, plan=PLAN).after_silence
    leafless = replace(STEADY, leaf=None)
    assert not planner.noted(seen, seeing(leafless), SERVED, ticks=TICKS, plan=PLAN).after_silence
    for left in (Held(current=B, old=(A,)), Held(old=(A,)), Held()):
        assert planner.noted(seen, seeing(left), SERVED, ticks=TICKS, plan=PLAN).after_silence


def test_a_leaf_of_the_same_authority_is_served_at_once_unless_it_is_worse() -> None:
    renewed = replace(STEADY, leaf=MAKER.leaf(A))
    assert takes(renewed, Seen(looked=TICKS))
    assert not takes(STEADY, Seen(looked=TICKS))
    ended = replace(STEADY, leaf=replace(MAKER.leaf(A), not_after=NOW))
    assert not takes(ended, Seen(looked=TICKS))
    # By a clock far off both have ended, and the Secret is right.
    assert takes(ended, Seen(looked=TICKS), now=NOW * 2)


def test_the_next_look_is_when_the_next_wait_is_over() -> None:
    seen = Seen(trusted={A.id: 0, B.id: TICKS - 4}, old={C.id: TICKS - 97})
    assert planner.wait_seconds(seen, TICKS, PLAN) == 3
    assert planner.wait_seconds(Seen(trusted={A.id: 0}), TICKS, PLAN) is None


def test_only_what_a_fault_calls_for_is_a_repair() -> None:
    assert not planner.is_repair(Join())
    due = step(STEADY, now=LEAF.not_after - PLAN.look_ahead_seconds)
    first = step(Held(current=A), served=None)
    broken = step(Held(current=A, faults=("tls.crt cannot be read",)), served=None)
    assert [each is not None and planner.is_repair(each) for each in (due, first, broken)] == [
        False,
        False,
        True,
    ]
