"""What the soak's parts hold beside answers."""

import pytest

from tests.soak.flood import check_ratio
from tests.soak.mixed import check_flat
from tests.soak.parts import check_restarts
from tests.soak.wrong import Wrong


def test_slow_restarts_are_wrong_and_one_of_many_is_not() -> None:
    check_restarts([1.0] * 19 + [9.0], 100_000)
    with pytest.raises(Wrong, match=r"9\.00 s with 100,000 credentials"):
        check_restarts([1.0] * 17 + [9.0] * 3, 100_000)


def test_restarts_of_an_empty_directory_are_not_held() -> None:
    check_restarts([9.0], 0)


def test_a_flood_that_doubles_what_good_clients_wait_is_wrong() -> None:
    check_ratio({"kinds": {"huge": {"ratio": 2.0}, "issuers": {"ratio": 0.9}}})
    with pytest.raises(Wrong, match="a flood of issuers"):
        check_ratio({"kinds": {"huge": {"ratio": 2.0}, "issuers": {"ratio": 2.01}}})


def test_a_process_that_grows_is_wrong() -> None:
    check_flat({"processes": {"master": {"flat": True}}})
    with pytest.raises(Wrong, match="worker 1 grew"):
        check_flat({"processes": {"master": {"flat": True}, "worker 1": {"flat": False}}})
