"""The soak's checks of restart times, floods and memory."""

import pytest

from tests.soak.flood import check_ratio
from tests.soak.mixed_load import check_flat
from tests.soak.parts import check_restarts
from tests.soak.violation import Violation


def test_slow_restarts_fail_and_a_single_slow_restart_does_not() -> None:
    check_restarts([1.0] * 19 + [9.0], 100_000)
    with pytest.raises(Violation, match=r"9\.00 s with 100,000 credentials"):
        check_restarts([1.0] * 17 + [9.0] * 3, 100_000)


def test_restart_time_of_an_empty_directory_is_not_checked() -> None:
    check_restarts([9.0], 0)


def test_flood_that_more_than_doubles_p99_fails() -> None:
    check_ratio({"kinds": {"huge": {"ratio": 2.0}, "issuers": {"ratio": 0.9}}})
    with pytest.raises(Violation, match="a flood of issuers"):
        check_ratio({"kinds": {"huge": {"ratio": 2.0}, "issuers": {"ratio": 2.01}}})


def test_growing_process_fails() -> None:
    check_flat({"processes": {"master": {"flat": True}}})
    with pytest.raises(Violation, match="worker 1 grew"):
        check_flat({"processes": {"master": {"flat": True}, "worker 1": {"flat": False}}})
