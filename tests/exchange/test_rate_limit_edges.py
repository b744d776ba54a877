"""Edge cases of the rate limiter: the end of a burst and of a penalty."""

import pytest

from podpass.exchange import rate_limits
from podpass.exchange.rate_limits import Rate
from tests.exchange.test_rate_limits import CLIENT, HERE, THERE, LimiterHarness


@pytest.fixture
def harness() -> LimiterHarness:
    return LimiterHarness()


def test_penalty_ends_exactly_and_can_start_again(harness: LimiterHarness) -> None:
    limiter = harness.limiter(refused=Rate(per_second=1, burst=1), penalty_seconds=30)
    limiter.on_rejection(HERE)
    limiter.on_rejection(HERE)
    assert harness.blocked == [HERE]
    harness.now += 29.9
    assert not limiter.allow_connection(HERE)
    limiter.on_rejection(HERE)
    harness.now += 0.1
    assert limiter.allow_connection(HERE)
    assert limiter.allow_connection(THERE)
    limiter.on_rejection(HERE)
    limiter.on_rejection(HERE)
    assert harness.blocked == [HERE, HERE]
    assert not limiter.allow_connection(HERE)


def test_address_is_trusted_only_for_its_time(harness: LimiterHarness) -> None:
    limiter = harness.limiter(refused=Rate(per_second=0.001, burst=1), penalty_seconds=30)
    limiter.on_success(HERE, CLIENT)
    harness.now += rate_limits.TRUSTED_SECONDS - 0.1
    for _ in range(3):
        limiter.on_rejection(HERE)
    assert limiter.allow_connection(HERE)
    harness.now += 0.1
    for _ in range(3):
        limiter.on_rejection(HERE)
    assert not limiter.allow_connection(HERE)


def test_trust_is_renewed_in_the_second_half_of_its_time(harness: LimiterHarness) -> None:
    limiter = harness.limiter(refused=Rate(per_second=0.001, burst=1), penalty_seconds=30)
    limiter.on_success(HERE, CLIENT)
    harness.now += rate_limits.TRUSTED_SECONDS / 2 + 0.1
    limiter.on_success(HERE, CLIENT)
    harness.now += rate_limits.TRUSTED_SECONDS - 1
    for _ in range(3):
        limiter.on_rejection(HERE)
    assert limiter.allow_connection(HERE)


def test_burst_and_wait_time_are_exact(harness: LimiterHarness) -> None:
    limiter = harness.limiter(devices=Rate(per_second=0.5, burst=2))
    assert [limiter.acquire_device_code(HERE) for _ in range(2)] == [None, None]
    assert limiter.acquire_device_code(HERE) == pytest.approx(2.0)
    harness.now += 1.5
    assert limiter.acquire_device_code(HERE) == pytest.approx(0.5)
    assert limiter.acquire_device_code(THERE) is None
    harness.now += 0.5
    assert limiter.acquire_device_code(HERE) is None


def test_least_recently_written_entry_is_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_ENTRIES", 2)
    recent = rate_limits._RecentTimes()
    for name, when in (("a", 1.0), ("b", 2.0), ("a", 3.0), ("c", 4.0)):
        recent.put(name, when)
    assert (recent.get("a"), recent.get("b", -1.0), recent.get("c")) == (3.0, -1.0, 4.0)
