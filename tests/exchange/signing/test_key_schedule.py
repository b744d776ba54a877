"""Which key signs when: every edge in time, and any sequence of clocks, rotations and replicas."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from podpass.errors import SettingsError
from podpass.exchange.signing import schedule
from podpass.exchange.signing.schedule import Schedule, Slot

SCHEDULE = Schedule(rotation_seconds=1000, ahead_seconds=100, token_seconds=50, skew_seconds=10)
NOW = 10_000.0


def slot(ordinal: int, activates: float, created: float = 0) -> Slot:
    return Slot(ordinal=ordinal, kid=f"k{ordinal}", created=created, activates=activates)


A, B, C = slot(1, NOW), slot(2, NOW + 1000), slot(3, NOW + 2000)


@pytest.mark.parametrize(
    ("now", "signs"),
    [
        (NOW - 5000, A),  # a clock set back before all of them: the key that everybody knows
        (NOW, A),
        (NOW + 999.999, A),
        (NOW + 1000, B),
        (NOW + 1999.999, B),
        (NOW + 2000, C),
        (NOW + 1e9, C),
    ],
)
def test_the_newest_key_whose_time_has_come_signs(now: float, signs: Slot) -> None:
    assert schedule.active([C, A, B], now) == signs
    since, until = schedule.bounds([C, A, B], now)
    assert since <= now < until


def test_of_two_keys_of_one_moment_the_later_made_signs_everywhere() -> None:
    twin = slot(7, A.activates)
    assert schedule.active([twin, A], NOW) == schedule.active([A, twin], NOW) == twin


def test_a_new_database_signs_at_once_and_has_its_next_key() -> None:
    assert schedule.first(NOW, SCHEDULE) == (NOW, NOW + 1000)


def test_a_key_is_due_when_none_is_to_come_and_signs_a_rotation_later() -> None:
    assert schedule.due([A, B], NOW + 999, SCHEDULE) is None
    assert schedule.due([A, B], NOW + 1000, SCHEDULE) == NOW + 2000


def test_a_service_that_was_off_for_years_still_publishes_ahead() -> None:
    late = NOW + 1e8
    assert schedule.due([A, B], late, SCHEDULE) == late + 100


def test_an_early_rotation_waits_until_the_key_was_published_long_enough() -> None:
    young = slot(2, NOW + 1000, created=NOW - 30)
    turn = schedule.brought_forward([A, young], NOW, SCHEDULE, replaces="k1", at_once=False)
    assert turn == (young, NOW + 70)
    old = slot(2, NOW + 1000, created=NOW - 500)
    turn = schedule.brought_forward([A, old], NOW, SCHEDULE, replaces="k1", at_once=False)
    assert turn == (old, NOW)


def test_an_emergency_does_not_wait() -> None:
    young = slot(2, NOW + 1000, created=NOW)
    turn = schedule.brought_forward([A, young], NOW, SCHEDULE, replaces="k1", at_once=True)
    assert turn == (young, NOW)


def test_a_key_made_by_a_clock_that_stood_ahead_counts_from_now() -> None:
    strange = slot(2, NOW + 1000, created=NOW + 1e6)
    turn = schedule.brought_forward([A, strange], NOW, SCHEDULE, replaces="k1", at_once=False)
    assert turn == (strange, NOW + 100)


def test_two_rotations_asked_for_at_once_are_one() -> None:
    after_first = [A, slot(2, NOW, created=0), slot(3, NOW + 1000, created=NOW)]
    for at_once in (True, False):
        again = schedule.brought_forward(after_first, NOW, SCHEDULE, replaces="k1", at_once=at_once)
        assert again is None


def test_a_rotation_is_never_put_off_by_another() -> None:
    soon = slot(2, NOW + 5, created=NOW)
    turn = schedule.brought_forward([A, soon], NOW, SCHEDULE, replaces="k1", at_once=False)
    assert turn is None


def test_a_turn_that_a_wrong_clock_put_years_ahead_is_put_right() -> None:
    far = slot(3, NOW + 1e9, created=NOW + 1e9)
    assert schedule.misplaced([A, far], NOW + 400, SCHEDULE) == (far, NOW + 1000)
    assert schedule.misplaced([A, B], NOW, SCHEDULE) is None
    # A clock that stands behind finds every turn far ahead, and leaves them where they are.
    assert schedule.misplaced([A, B], NOW - 1e6, SCHEDULE) is None


def test_a_key_goes_when_it_was_seen_out_of_use_for_a_tokens_life_and_the_skew() -> None:
    watched = schedule.watch({}, [A, B, C], NOW + 1000, 7.0)
    assert watched == {"k1": 7.0}
    assert schedule.spent(watched, 7 + 59.9, SCHEDULE) == []
    assert schedule.spent(watched, 7 + 60, SCHEDULE) == ["k1"]


def test_a_key_that_a_jump_of_the_clock_brought_back_is_watched_anew() -> None:
    watched = schedule.watch({}, [A, B], NOW + 1000, 7.0)
    watched = schedule.watch(watched, [A, B], NOW, 50.0)
    assert watched == {}
    assert schedule.watch(watched, [A, B], NOW + 1000, 80.0) == {"k1": 80.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotation_seconds": 0},
        {"skew_seconds": -1},
        {"token_seconds": math.nan},
        {"ahead_seconds": 0.9},
    ],
)
def test_a_schedule_without_time_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Schedule(**wrong)


def test_a_key_cannot_be_published_longer_ahead_than_a_rotation() -> None:
    with pytest.raises(SettingsError, match="rotation_seconds"):
        Schedule(rotation_seconds=3600)


def test_by_default_a_key_is_published_for_longer_than_consumers_keep_keys() -> None:
    assert Schedule().ahead_seconds >= 24 * 3600 + Schedule().skew_seconds
    assert Schedule().token_seconds >= 86_399


@pytest.mark.parametrize(("ahead", "kept"), [(25 * 3600, 86_400), (3600, 3300), (20, 0)])
def test_consumers_are_told_to_keep_keys_no_longer_than_new_ones_wait(
    ahead: float, kept: int
) -> None:
    assert Schedule(ahead_seconds=ahead).cache_seconds == kept


slots_ = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6).map(
    lambda turns: [slot(number, turn) for number, turn in enumerate(turns)]
)


@given(slots_, st.floats(-2e6, 2e6))
def test_there_is_always_one_that_signs_and_its_bounds_hold(slots: list[Slot], now: float) -> None:
    signs = schedule.active(slots, now)
    since, until = schedule.bounds(slots, now)
    assert since <= now < until or since == until
    for moment in (since, (since + now) / 2, (until + now) / 2):
        if since <= moment < until and math.isfinite(moment):
            assert schedule.active(slots, moment) == signs


class Replica:
    """One process: a clock that may be wrong, and what it has read."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.slots: list[Slot] = []
        self.read_at = -math.inf
        self.watched: dict[str, float] = {}


class Replicas(RuleBasedStateMachine):
    """Two replicas on one database, whose clocks jump; the time that passes is the machine's.

    Every change is one step on what is in the database, as a transaction that writes is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.time = NOW
        self.rows: list[Slot] = []
        self.made = 0
        self.replicas = [Replica(), Replica()]
        self.tokens: list[tuple[str, float]] = []

    @initialize()
    def begin(self) -> None:
        for turn in schedule.first(self.time, SCHEDULE):
            self.add(turn, self.time)
        for each in self.replicas:
            self.read(each)

    def add(self, turn: float, created: float) -> None:
        self.made += 1
        self.rows.append(slot(self.made, turn, created))

    def read(self, replica: Replica) -> None:
        replica.slots = list(self.rows)
        replica.read_at = self.time
        now = self.time + replica.offset
        replica.watched = schedule.watch(replica.watched, replica.slots, now, self.time)

    def put(self, kid: str, turn: float) -> None:
        self.rows = [
            slot(one.ordinal, turn, one.created) if one.kid == kid else one for one in self.rows
        ]

    @rule(seconds=st.sampled_from([0.5, 1, 5, 20, 60, 100, 500, 1000, 3000]))
    def pass_time(self, seconds: float) -> None:
        """Let time pass; a running replica reads and keeps every few seconds of it."""
        while seconds > 0:
            step = min(seconds, SCHEDULE.stale_seconds)
            self.time += step
            seconds -= step
            for each in self.replicas:
                self.keep(each)
            self.live_tokens_have_published_keys()

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([0.1, 2, 4.9, 30]))
    def lag(self, which: int, seconds: float) -> None:
        """Let one replica fall behind, and sign with what it knows as long as it may."""
        while seconds > 0:
            step = min(seconds, SCHEDULE.stale_seconds)
            self.time += step
            seconds -= step
            self.keep(self.replicas[1 - which])
            self.sign(which)

    def keep(self, replica: Replica) -> None:
        self.read(replica)
        now = self.time + replica.offset
        old = {one.kid for one in schedule.out_of_use(self.rows, now)}
        gone = old & set(schedule.spent(replica.watched, self.time, SCHEDULE))
        self.rows = [one for one in self.rows if one.kid not in gone]
        turn = schedule.due(self.rows, now, SCHEDULE)
        if turn is not None:
            self.add(turn, now)
        elif wrong := schedule.misplaced(self.rows, now, SCHEDULE):
            self.put(wrong[0].kid, wrong[1])
        self.read(replica)

    @rule(which=st.integers(0, 1), at_once=st.booleans())
    def rotate(self, which: int, *, at_once: bool) -> None:
        replica = self.replicas[which]
        self.keep(replica)
        now = self.time + replica.offset
        signs = schedule.active(self.rows, now).kid
        before = self.made
        for _ in range(2):  # both replicas at once: the second finds it done
            turn = schedule.brought_forward(
                self.rows, now, SCHEDULE, replaces=signs, at_once=at_once
            )
            if turn is not None:
                self.put(turn[0].kid, turn[1])
                self.keep(replica)
        assert self.made <= before + 1, "two keys were made for one rotation"

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([-5, -3, -0.5, 0.5, 3, 5]))
    def drift(self, which: int, seconds: float) -> None:
        """Let a clock stand off by half the skew at most, as kept clocks may."""
        self.replicas[which].offset = seconds

    @rule(which=st.integers(0, 1), seconds=st.sampled_from([-1e6, -3000, -200, 200, 3000, 1e6]))
    def jump(self, which: int, seconds: float) -> None:
        """Set a clock wrong for a moment: it reads, keeps, and is set right before a key's idle time."""
        replica = self.replicas[which]
        before, replica.offset = replica.offset, seconds
        self.keep(replica)
        self.time += SCHEDULE.idle_seconds / 3
        self.keep(replica)
        replica.offset = before
        self.keep(replica)
        self.keep(self.replicas[1 - which])

    @rule(which=st.integers(0, 1))
    def sign(self, which: int) -> None:
        """Sign a token with what this replica has read, which may be old."""
        replica = self.replicas[which]
        if self.time - replica.read_at > SCHEDULE.stale_seconds:
            return
        now = self.time + replica.offset
        kid = schedule.active(replica.slots, now).kid
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
        assert schedule.active(self.rows, self.time) in self.rows
        assert len({one.kid for one in self.rows}) == len(self.rows)
        assert len(self.rows) < 60


TestReplicas = Replicas.TestCase
