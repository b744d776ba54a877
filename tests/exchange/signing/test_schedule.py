"""The key schedule: exact times, and random sequences of clock changes, rotations and replicas."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podpass.errors import SettingsError
from podpass.exchange.signing import schedule
from podpass.exchange.signing.schedule import KeyPeriod, KeySchedule, ScheduledKey

SCHEDULE = KeySchedule(rotation_seconds=1000, ahead_seconds=100, token_seconds=50, skew_seconds=10)
NOW = 10_000.0


def create_slot(ordinal: int, activates: float, created: float = 0) -> ScheduledKey:
    return ScheduledKey(ordinal=ordinal, kid=f"k{ordinal}", created=created, activates=activates)


A, B, C = create_slot(1, NOW), create_slot(2, NOW + 1000), create_slot(3, NOW + 2000)


@pytest.mark.parametrize(
    ("now", "signs"),
    [
        (
            NOW - 5000,
            A,
        ),  # the clock was set back to before all activations: the first key, which every consumer knows
        (NOW, A),
        (NOW + 999.999, A),
        (NOW + 1000, B),
        (NOW + 1999.999, B),
        (NOW + 2000, C),
        (NOW + 1e9, C),
    ],
)
def test_key_with_latest_past_activation_signs(now: float, signs: ScheduledKey) -> None:
    assert schedule.active_key([C, A, B], now) == signs
    since, until = schedule.active_interval([C, A, B], now)
    assert since <= now < until


def test_newer_of_two_keys_with_equal_activation_signs() -> None:
    twin = create_slot(7, A.activates)
    assert schedule.active_key([twin, A], NOW) == schedule.active_key([A, twin], NOW) == twin


def test_new_database_has_an_active_and_a_next_key() -> None:
    assert schedule.initial_activations(NOW, SCHEDULE) == (NOW, NOW + 1000)


def test_next_key_is_planned_for_one_rotation_after_the_last_key_activates() -> None:
    assert schedule.next_activation([A, B], NOW + 999, SCHEDULE) is None
    assert schedule.next_activation([A, B], NOW + 1000, SCHEDULE) == NOW + 2000


def test_next_key_is_published_before_it_signs_after_years_of_downtime() -> None:
    late = NOW + 1e8
    assert schedule.next_activation([A, B], late, SCHEDULE) == late + 100


def test_early_rotation_waits_until_the_key_was_published_long_enough() -> None:
    young = create_slot(2, NOW + 1000, created=NOW - 30)
    activates = schedule.plan_early_rotation(
        [A, young], NOW, SCHEDULE, replaces="k1", at_once=False
    )
    assert activates == (young, NOW + 70)
    old = create_slot(2, NOW + 1000, created=NOW - 500)
    activates = schedule.plan_early_rotation([A, old], NOW, SCHEDULE, replaces="k1", at_once=False)
    assert activates == (old, NOW)


def test_immediate_rotation_does_not_wait() -> None:
    young = create_slot(2, NOW + 1000, created=NOW)
    activates = schedule.plan_early_rotation([A, young], NOW, SCHEDULE, replaces="k1", at_once=True)
    assert activates == (young, NOW)


def test_publish_time_of_a_key_created_by_a_fast_clock_starts_now() -> None:
    strange = create_slot(2, NOW + 1000, created=NOW + 1e6)
    activates = schedule.plan_early_rotation(
        [A, strange], NOW, SCHEDULE, replaces="k1", at_once=False
    )
    assert activates == (strange, NOW + 100)


def test_two_concurrent_rotations_rotate_once() -> None:
    after_first = [A, create_slot(2, NOW, created=0), create_slot(3, NOW + 1000, created=NOW)]
    for at_once in (True, False):
        again = schedule.plan_early_rotation(
            after_first, NOW, SCHEDULE, replaces="k1", at_once=at_once
        )
        assert again is None


def test_second_rotation_does_not_delay_the_first() -> None:
    soon = create_slot(2, NOW + 5, created=NOW)
    activates = schedule.plan_early_rotation([A, soon], NOW, SCHEDULE, replaces="k1", at_once=False)
    assert activates is None


def test_activation_years_ahead_is_rescheduled() -> None:
    far = create_slot(3, NOW + 1e9, created=NOW + 1e9)
    assert schedule.find_misplaced([A, far], NOW + 400, SCHEDULE) == (far, NOW + 1000)
    assert schedule.find_misplaced([A, B], NOW, SCHEDULE) is None
    # A slow clock sees every activation far ahead, and does not reschedule it.
    assert schedule.find_misplaced([A, B], NOW - 1e6, SCHEDULE) is None


def test_key_expires_after_token_lifetime_and_skew_out_of_use() -> None:
    watched = schedule.track_out_of_use({}, [A, B, C], NOW + 1000, 7.0)
    assert watched == {"k1": 7.0}
    assert schedule.list_expired(watched, 7 + 59.9, SCHEDULE) == []
    assert schedule.list_expired(watched, 7 + 60, SCHEDULE) == ["k1"]


def test_key_that_is_active_again_restarts_its_out_of_use_time() -> None:
    watched = schedule.track_out_of_use({}, [A, B], NOW + 1000, 7.0)
    watched = schedule.track_out_of_use(watched, [A, B], NOW, 50.0)
    assert watched == {}
    assert schedule.track_out_of_use(watched, [A, B], NOW + 1000, 80.0) == {"k1": 80.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotation_seconds": 0},
        {"skew_seconds": -1},
        {"token_seconds": math.nan},
        {"ahead_seconds": 0.9},
    ],
)
def test_schedule_with_invalid_durations_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        KeySchedule(**wrong)


def test_key_cannot_be_published_longer_ahead_than_a_rotation() -> None:
    with pytest.raises(SettingsError, match="rotation_seconds"):
        KeySchedule(rotation_seconds=3600)


def test_default_publish_ahead_exceeds_the_consumers_cache_time() -> None:
    assert KeySchedule().ahead_seconds >= 24 * 3600 + KeySchedule().skew_seconds
    assert KeySchedule().token_seconds >= 86_399


@pytest.mark.parametrize(("ahead", "kept"), [(25 * 3600, 86_400), (3600, 3300), (20, 0)])
def test_cache_time_never_exceeds_publish_ahead(ahead: float, kept: int) -> None:
    assert KeySchedule(ahead_seconds=ahead).cache_seconds == kept


slots_ = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6).map(
    lambda activations: [
        create_slot(number, activates) for number, activates in enumerate(activations)
    ]
)


@given(slots_, st.floats(-2e6, 2e6))
def test_there_is_always_one_active_key_with_valid_interval(
    slots: list[ScheduledKey], now: float
) -> None:
    signs = schedule.active_key(slots, now)
    since, until = schedule.active_interval(slots, now)
    assert since <= now < until or since == until
    for moment in (since, (since + now) / 2, (until + now) / 2):
        if since <= moment < until and math.isfinite(moment):
            assert schedule.active_key(slots, moment) == signs


class Replica:
    """One replica: a clock that may be wrong, and the rows that it last read."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.slots: list[ScheduledKey] = []
        self.read_at = -math.inf
        self.watched: dict[str, float] = {}


class Replicas(RuleBasedStateMachine):
    """Two replicas on one database, whose clocks jump; both have the same monotonic clock.

    Every change is one atomic step on the rows, like a write transaction.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time = NOW
        self.rows: list[ScheduledKey] = []
        self.made = 0
        self.replicas = [Replica(), Replica()]
        self.tokens: list[tuple[str, float]] = []

    @initialize()
    def begin(self) -> None:
        for activates in schedule.initial_activations(self.time, SCHEDULE):
            self.add(activates, self.time)
        for each in self.replicas:
            self.read(each)

    def add(self, activates: float, created: float) -> None:
        self.made += 1
        self.rows.append(create_slot(self.made, activates, created))

    def read(self, replica: Replica) -> None:
        replica.slots = list(self.rows)
        replica.read_at = self.time
        now = self.time + replica.offset
        replica.watched = schedule.track_out_of_use(replica.watched, replica.slots, now, self.time)

    def put(self, kid: str, activates: float) -> None:
        self.rows = [
            create_slot(one.ordinal, activates, one.created) if one.kid == kid else one
            for one in self.rows
        ]

    @rule(seconds=st.sampled_from([0.5, 1, 5, 20, 60, 100, 500, 1000, 3000]))
    def pass_time(self, seconds: float) -> None:
        """Advance the time; a running replica reads and reconciles every few seconds."""
        while seconds > 0:
            step = min(seconds, SCHEDULE.stale_seconds)
            self.time += step
            seconds -= step
            for each in self.replicas:
                self.reconcile(each)
            self.live_tokens_have_published_keys()

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([0.1, 2, 4.9, 30]))
    def skip_reads(self, which: int, seconds: float) -> None:
        """Skip the reads of one replica; it signs with its last rows while that is allowed."""
        while seconds > 0:
            step = min(seconds, SCHEDULE.stale_seconds)
            self.time += step
            seconds -= step
            self.reconcile(self.replicas[1 - which])
            self.sign(which)

    def reconcile(self, replica: Replica) -> None:
        self.read(replica)
        now = self.time + replica.offset
        old = {one.kid for one in schedule.list_out_of_use(self.rows, now)}
        gone = old & set(schedule.list_expired(replica.watched, self.time, SCHEDULE))
        self.rows = [one for one in self.rows if one.kid not in gone]
        activates = schedule.next_activation(self.rows, now, SCHEDULE)
        if activates is not None:
            self.add(activates, now)
        elif wrong := schedule.find_misplaced(self.rows, now, SCHEDULE):
            self.put(wrong[0].kid, wrong[1])
        self.read(replica)

    @rule(which=st.integers(0, 1), at_once=st.booleans())
    def rotate(self, which: int, *, at_once: bool) -> None:
        replica = self.replicas[which]
        self.reconcile(replica)
        now = self.time + replica.offset
        signs = schedule.active_key(self.rows, now).kid
        before = self.made
        for _ in range(2):  # both replicas at the same time: the second has nothing to do
            activates = schedule.plan_early_rotation(
                self.rows, now, SCHEDULE, replaces=signs, at_once=at_once
            )
            if activates is not None:
                self.put(activates[0].kid, activates[1])
                self.reconcile(replica)
        assert self.made <= before + 1, "two keys were made for one rotation"

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([-5, -3, -0.5, 0.5, 3, 5]))
    def drift(self, which: int, seconds: float) -> None:
        """Set a clock off by at most half of the allowed skew."""
        self.replicas[which].offset = seconds

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([-1e6, -3000, -200, 200, 3000, 1e6]))
    def jump(self, which: int, seconds: float) -> None:
        """Set a wrong time temporarily: the replica reads and reconciles, then the clock is corrected."""
        replica = self.replicas[which]
        before, replica.offset = replica.offset, seconds
        self.reconcile(replica)
        self.time += SCHEDULE.idle_seconds / 3
        self.reconcile(replica)
        replica.offset = before
        self.reconcile(replica)
        self.reconcile(self.replicas[1 - which])

    @rule(which=st.integers(0, 1))
    def sign(self, which: int) -> None:
        """Sign a token with the rows that this replica last read, which may be old."""
        replica = self.replicas[which]
        if self.time - replica.read_at > SCHEDULE.stale_seconds:
            return
        now = self.time + replica.offset
        kid = schedule.active_key(replica.slots, now).kid
        assert kid in {one.kid for one in self.rows}, "signed with an unpublished key"
        self.tokens.append((kid, now + SCHEDULE.token_seconds))

    @precondition(lambda self: self.rows)
    @invariant()
    def live_tokens_have_published_keys(self) -> None:
        self.tokens = [one for one in self.tokens if one[1] > self.time]
        published = {one.kid for one in self.rows}
        assert {kid for kid, _ in self.tokens} <= published

    @precondition(lambda self: self.rows)
    @invariant()
    def one_signs_and_no_slot_is_taken_twice(self) -> None:
        assert schedule.active_key(self.rows, self.time) in self.rows
        assert len({one.kid for one in self.rows}) == len(self.rows)
        assert len(self.rows) < 60


TestReplicas = Replicas.TestCase


# The key schedule at its exact limits, and the timeline that operators see.


def period(of: Any, state: str, until: float | None, published: float | None = None) -> KeyPeriod:
    return KeyPeriod(slot=of, state=state, until=until, published=published)


def test_active_interval_ends_at_the_next_activation() -> None:
    assert schedule.active_interval([A, B], NOW) == (NOW, NOW + 1000)
    assert schedule.active_interval([A, B], NOW + 1000) == (NOW + 1000, math.inf)
    assert schedule.active_interval([A, B], NOW - 1) == (-math.inf, NOW + 1000)


def test_timeline_lists_old_active_and_next_keys() -> None:
    now = NOW + 1500
    assert schedule.timeline([C, A, B], now, SCHEDULE) == [
        period(A, "old", NOW + 1000, NOW + 1000 + 60),
        period(B, "active", NOW + 2000),
        period(C, "upcoming", None),
    ]
    assert schedule.timeline([A], NOW, SCHEDULE) == [period(A, "active", None)]
    assert schedule.timeline([], NOW, SCHEDULE) == []


@pytest.mark.parametrize(
    "fine",
    [
        {"ahead_seconds": 1},
        {"rotation_seconds": 100, "ahead_seconds": 100},
        {"token_seconds": 0.5},
        {"skew_seconds": 1},
    ],
)
def test_schedule_at_its_limits_is_accepted(fine: dict[str, float]) -> None:
    given = {"rotation_seconds": 1000.0, "ahead_seconds": 100, "token_seconds": 50, **fine}
    assert KeySchedule(**given).ahead_seconds >= 1


@pytest.mark.parametrize(
    "unfit",
    [
        *({"ahead_seconds": 0.999}, {"ahead_seconds": 0}, {"rotation_seconds": 99.9}),
        *({"rotation_seconds": 1e12}, {"token_seconds": 0}),
        *({"skew_seconds": 0}, {"skew_seconds": -1}),
    ],
)
def test_schedule_beyond_its_limits_is_refused(unfit: dict[str, float]) -> None:
    given = {"rotation_seconds": 1000.0, "ahead_seconds": 100, "token_seconds": 50, **unfit}
    with pytest.raises(SettingsError):
        KeySchedule(**given)


def test_next_key_is_misplaced_only_beyond_one_rotation() -> None:
    assert schedule.find_misplaced([A], NOW, SCHEDULE) is None
    assert schedule.find_misplaced([A, create_slot(2, NOW + 1000)], NOW, SCHEDULE) is None
    # A key that is due within one rotation keeps its activation, even if an earlier one is possible.
    assert schedule.find_misplaced([A, create_slot(2, NOW + 5500)], NOW + 5000, SCHEDULE) is None
    late = create_slot(2, NOW + 1000.5)
    assert schedule.find_misplaced([A, late], NOW, SCHEDULE) == (late, NOW + 1000)


def test_early_rotation_needs_an_earlier_activation() -> None:
    def early(after: Any, *, at_once: bool, now: float = NOW) -> Any:
        return schedule.plan_early_rotation(
            [A, after], now, SCHEDULE, replaces="k1", at_once=at_once
        )

    known = create_slot(2, NOW + 1000, created=NOW - 40)
    assert early(known, at_once=False) == (known, NOW + 60)
    assert early(known, at_once=True) == (known, NOW)
    assert early(create_slot(2, NOW + 100, created=NOW), at_once=False) is None
    assert early(create_slot(2, NOW + 100.5, created=NOW), at_once=False) is not None


def test_out_of_use_time_is_recorded_for_each_key() -> None:
    now = NOW + 2000
    assert schedule.track_out_of_use({"k1": 5.0, "other": 1.0}, [A, B, C], now, 9.0) == {
        "k1": 5.0,
        "k2": 9.0,
    }
    assert schedule.list_expired({"k1": 5.0, "k2": 5.1}, 65.0, SCHEDULE) == ["k1"]


def test_two_early_rotations_with_a_slow_clock_rotate_once() -> None:
    """Fails if the next key may sign before the active key: they would change order."""
    found = schedule.plan_early_rotation([A, B], NOW - 5, SCHEDULE, replaces="k1", at_once=True)
    assert found == (B, NOW)
    again = [A, create_slot(2, NOW)]
    assert not schedule.plan_early_rotation(again, NOW - 5, SCHEDULE, replaces="k1", at_once=True)
