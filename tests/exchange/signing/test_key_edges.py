"""The schedule of signing keys at its edges, and what a person is told of it."""

import math
from typing import Any

import pytest

from podpass.errors import SettingsError
from podpass.exchange.signing import schedule
from podpass.exchange.signing.schedule import Schedule, Turn
from tests.exchange.signing.test_key_schedule import NOW, SCHEDULE, A, B, C, slot


def turn(of: Any, state: str, until: float | None, published: float | None = None) -> Turn:
    return Turn(slot=of, state=state, until=until, published=published)


def test_a_key_keeps_its_place_from_its_turn_to_the_next_ones() -> None:
    assert schedule.bounds([A, B], NOW) == (NOW, NOW + 1000)
    assert schedule.bounds([A, B], NOW + 1000) == (NOW + 1000, math.inf)
    assert schedule.bounds([A, B], NOW - 1) == (-math.inf, NOW + 1000)


def test_a_person_is_told_of_old_active_and_coming_keys() -> None:
    now = NOW + 1500
    assert schedule.timeline([C, A, B], now, SCHEDULE) == [
        turn(A, "old", NOW + 1000, NOW + 1000 + 60),
        turn(B, "active", NOW + 2000),
        turn(C, "coming", None),
    ]
    assert schedule.timeline([A], NOW, SCHEDULE) == [turn(A, "active", None)]
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
def test_a_schedule_may_be_as_tight_as_this(fine: dict[str, float]) -> None:
    given = {"rotation_seconds": 1000.0, "ahead_seconds": 100, "token_seconds": 50, **fine}
    assert Schedule(**given).ahead_seconds >= 1


@pytest.mark.parametrize(
    "unfit",
    [
        {"ahead_seconds": 0.999},
        {"ahead_seconds": 0},
        {"rotation_seconds": 99.9},
        {"rotation_seconds": 1e12},
        {"token_seconds": 0},
        {"skew_seconds": 0},
        {"skew_seconds": -1},
    ],
)
def test_and_no_tighter(unfit: dict[str, float]) -> None:
    given = {"rotation_seconds": 1000.0, "ahead_seconds": 100, "token_seconds": 50, **unfit}
    with pytest.raises(SettingsError):
        Schedule(**given)


def test_a_coming_key_is_misplaced_beyond_one_rotation_and_not_at_it() -> None:
    assert schedule.misplaced([A], NOW, SCHEDULE) is None
    assert schedule.misplaced([A, slot(2, NOW + 1000)], NOW, SCHEDULE) is None
    # A key that comes within a rotation keeps its turn, though it could have an earlier one.
    assert schedule.misplaced([A, slot(2, NOW + 5500)], NOW + 5000, SCHEDULE) is None
    late = slot(2, NOW + 1000.5)
    assert schedule.misplaced([A, late], NOW, SCHEDULE) == (late, NOW + 1000)


def test_an_early_turn_is_one_only_if_it_is_earlier() -> None:
    def early(after: Any, *, at_once: bool, now: float = NOW) -> Any:
        return schedule.brought_forward([A, after], now, SCHEDULE, replaces="k1", at_once=at_once)

    known = slot(2, NOW + 1000, created=NOW - 40)
    assert early(known, at_once=False) == (known, NOW + 60)
    assert early(known, at_once=True) == (known, NOW)
    assert early(slot(2, NOW + 100, created=NOW), at_once=False) is None
    assert early(slot(2, NOW + 100.5, created=NOW), at_once=False) is not None


def test_a_key_is_watched_under_its_own_name() -> None:
    now = NOW + 2000
    assert schedule.watch({"k1": 5.0, "other": 1.0}, [A, B, C], now, 9.0) == {
        "k1": 5.0,
        "k2": 9.0,
    }
    assert schedule.spent({"k1": 5.0, "k2": 5.1}, 65.0, SCHEDULE) == ["k1"]


def test_two_early_turns_by_a_clock_that_is_behind_bring_one_key_forward() -> None:
    """Fails if the coming key may sign before the one it follows: they would change places."""
    found = schedule.brought_forward([A, B], NOW - 5, SCHEDULE, replaces="k1", at_once=True)
    assert found == (B, NOW)
    again = [A, slot(2, NOW)]
    assert not schedule.brought_forward(again, NOW - 5, SCHEDULE, replaces="k1", at_once=True)
