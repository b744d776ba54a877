"""The backoff of repairs."""

from podpass.admission.certificates.ca_injector import RepairBackoff


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
