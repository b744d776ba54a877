"""A short run of the webhook's soak: the same checks except those of times."""

from pathlib import Path

import pytest

from tests.soak.mixed_load import check_flat
from tests.soak.violation import Violation
from tests.soak.webhook_load import WebhookLoad, WebhookLoadPlan, check_stall

pytestmark = pytest.mark.processes


async def test_memory_and_descriptors_stay_constant_while_accounts_change_and_are_listed(
    tmp_path: Path,
) -> None:
    plan = WebhookLoadPlan(seconds=12, accounts=2000, relist=1.0, sample=0.2, stretch=2.0)
    report = await WebhookLoad(tmp_path, plan, seed=1).run()
    check_flat(report)
    assert report["pods mutated"] > 100
    assert report["lists"] >= 3
    assert report["read live"] == 0, "a new list keeps the cached accounts"


def test_blocked_event_loop_fails() -> None:
    check_stall({"longest stall_ms": {"total": 900.0, "process": 50.0}})
    with pytest.raises(Violation, match=r"blocked for 50\.1 ms"):
        check_stall({"longest stall_ms": {"total": 900.0, "process": 50.1}})
