"""The key schedule at its exact limits, and the timeline that operators see."""

import math
from typing import Any

import pytest

from podpass.errors import SettingsError
from podpass.exchange.signing import schedule
from podpass.exchange.signing.schedule import KeyPeriod, KeySchedule
from tests.exchange.signing.test_schedule import NOW, SCHEDULE, A, B, C, create_slot


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
        {"ahead_seconds": 0.999},
        {"ahead_seconds": 0},
        {"rotation_seconds": 99.9},
        {"rotation_seconds": 1e12},
        {"token_seconds": 0},
        {"skew_seconds": 0},
        {"skew_seconds": -1},
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
