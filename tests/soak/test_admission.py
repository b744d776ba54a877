"""The webhook's soak, in small: what it holds is held here too, but for times."""

from pathlib import Path

import pytest

from tests.soak.admission import Admission, Pace, check_stall
from tests.soak.mixed import check_flat
from tests.soak.wrong import Wrong


async def test_memory_and_descriptors_stay_flat_while_accounts_change_and_are_listed(
    tmp_path: Path,
) -> None:
    pace = Pace(seconds=12, accounts=2000, relist=1.0, sample=0.2, stretch=2.0)
    report = await Admission(tmp_path, pace, seed=1).run()
    check_flat(report)
    assert report["pods mutated"] > 100
    assert report["lists"] >= 3
    assert report["read live"] == 0, "lists that come again leave what is known in place"


def test_a_loop_that_stood_still_is_wrong() -> None:
    check_stall({"longest stall_ms": {"late": 900.0, "own": 50.0}})
    with pytest.raises(Wrong, match=r"stood still for 50\.1 ms"):
        check_stall({"longest stall_ms": {"late": 900.0, "own": 50.1}})
