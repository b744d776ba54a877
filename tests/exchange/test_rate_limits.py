"""The rate limiter, with a clock that the tests set."""

from dataclasses import dataclass, field

import pytest

from podpass.exchange import rate_limits
from podpass.exchange.rate_limits import Rate, RateLimiter, RateLimits

OFF = Rate(per_second=0, burst=1)
HERE, THERE = "192.0.2.1", "192.0.2.2"
CLIENT = "aaaaaaaa-3333-4333-8333-333333333333"


@dataclass
class LimiterHarness:
    """A rate limiter and its clock."""

    now: float = 1000.0
    blocked: list[str] = field(default_factory=list)

    def limiter(
        self,
        *,
        client: Rate = OFF,
        source: Rate = OFF,
        refused: Rate = OFF,
        devices: Rate = OFF,
        penalty_seconds: float = 30,
    ) -> RateLimiter:
        limits = RateLimits(
            client=client,
            source=source,
            refused=refused,
            devices=devices,
            penalty_seconds=penalty_seconds,
        )
        return RateLimiter(limits, lambda: self.now, on_block=self.blocked.append)


@pytest.fixture
def harness() -> LimiterHarness:
    return LimiterHarness()


def test_address_may_burst_and_is_then_limited_to_its_rate(harness: LimiterHarness) -> None:
    limiter = harness.limiter(source=Rate(per_second=2, burst=3))
    assert [limiter.acquire(HERE, "") for _ in range(3)] == [None] * 3
    assert limiter.acquire(HERE, "") == pytest.approx(0.5)
    harness.now += 0.5
    assert limiter.acquire(HERE, "") is None
    assert limiter.acquire(HERE, "") == pytest.approx(0.5)
    harness.now += 100
    assert [limiter.acquire(HERE, "") for _ in range(4)][:3] == [None] * 3


def test_addresses_have_separate_limits(harness: LimiterHarness) -> None:
    limiter = harness.limiter(source=Rate(per_second=1, burst=1))
    assert limiter.acquire(HERE, "") is None
    assert limiter.acquire(HERE, "") is not None
    assert limiter.acquire(THERE, "") is None


def test_refused_request_does_not_extend_the_wait(harness: LimiterHarness) -> None:
    """A client that retries too early must not extend its own wait."""
    limiter = harness.limiter(source=Rate(per_second=1, burst=1))
    limiter.acquire(HERE, "")
    for _ in range(50):
        assert limiter.acquire(HERE, "") == pytest.approx(1)
    harness.now += 1
    assert limiter.acquire(HERE, "") is None


def test_client_limit_counts_tokens_of_all_addresses(harness: LimiterHarness) -> None:
    limiter = harness.limiter(client=Rate(per_second=1, burst=2))
    for source in (HERE, THERE):
        assert limiter.acquire(source, CLIENT) is None
        limiter.on_success(source, CLIENT)
    assert limiter.acquire("192.0.2.3", CLIENT) == pytest.approx(1)
    assert limiter.acquire("192.0.2.3", CLIENT.upper()) == pytest.approx(1)
    assert limiter.acquire(HERE, CLIENT.replace("a", "b")) is None


def test_requests_without_client_have_no_client_limit(harness: LimiterHarness) -> None:
    limiter = harness.limiter(client=Rate(per_second=1, burst=1))
    for _ in range(5):
        assert limiter.acquire(HERE, "") is None
        limiter.on_success(HERE, "")


def test_extra_work_counts_as_requests_of_its_address(harness: LimiterHarness) -> None:
    limiter = harness.limiter(source=Rate(per_second=1, burst=3))
    assert limiter.acquire(HERE, "") is None
    limiter.on_extra_work(HERE, 4)
    assert limiter.acquire(HERE, "") == pytest.approx(3)
    assert limiter.acquire(THERE, "") is None


def test_refused_requests_do_not_use_up_the_client_limit(harness: LimiterHarness) -> None:
    limiter = harness.limiter(client=Rate(per_second=1, burst=2))
    for _ in range(100):
        assert limiter.acquire(THERE, CLIENT) is None
        limiter.on_rejection(THERE)
    assert limiter.acquire(HERE, CLIENT) is None


def test_address_with_too_many_refusals_is_blocked_for_the_penalty(harness: LimiterHarness) -> None:
    limiter = harness.limiter(refused=Rate(per_second=1, burst=3))
    for _ in range(3):
        limiter.on_rejection(HERE)
    assert limiter.allow_connection(HERE)
    limiter.on_rejection(HERE)
    assert not limiter.allow_connection(HERE)
    assert limiter.allow_connection(THERE)
    assert harness.blocked == [HERE]
    harness.now += 29.9
    assert not limiter.allow_connection(HERE)
    harness.now += 0.1
    assert limiter.allow_connection(HERE)


def test_blocked_address_is_blocked_on_open_connections_too(harness: LimiterHarness) -> None:
    """Fails if only new connections are refused: a flood would continue on open connections."""
    limiter = harness.limiter(refused=Rate(per_second=1, burst=3))
    for _ in range(4):
        assert limiter.allow_request(HERE)
        assert limiter.acquire(HERE, CLIENT) is None
        limiter.on_rejection(HERE)
    assert not limiter.allow_request(HERE)
    assert limiter.acquire(HERE, CLIENT) == pytest.approx(30)
    assert limiter.allow_request(THERE)
    assert limiter.acquire(THERE, CLIENT) is None
    harness.now += 30
    assert limiter.allow_request(HERE)
    assert limiter.acquire(HERE, CLIENT) is None


def test_device_codes_are_limited_by_address(harness: LimiterHarness) -> None:
    limiter = harness.limiter(devices=Rate(per_second=0.01, burst=2))
    assert [limiter.acquire_device_code(HERE) for _ in range(2)] == [None, None]
    assert limiter.acquire_device_code(HERE) == pytest.approx(100)
    assert limiter.acquire_device_code(THERE) is None
    harness.now += 100
    assert limiter.acquire_device_code(HERE) is None
    free = harness.limiter()
    assert [free.acquire_device_code(HERE) for _ in range(100)] == [None] * 100


def test_occasional_refusals_do_not_block(harness: LimiterHarness) -> None:
    limiter = harness.limiter(refused=Rate(per_second=1, burst=3))
    for _ in range(1000):
        limiter.on_rejection(HERE)
        harness.now += 1
    assert limiter.allow_connection(HERE)


def test_trusted_address_may_have_ten_times_the_refusals(harness: LimiterHarness) -> None:
    """A complete cluster may be behind the address, with one misconfigured pod among thousands."""
    limiter = harness.limiter(refused=Rate(per_second=1, burst=3))
    limiter.on_success(HERE, CLIENT)
    for _ in range(30):
        limiter.on_rejection(HERE)
    assert limiter.allow_connection(HERE)
    for _ in range(100):
        harness.now += 0.1
        limiter.on_rejection(HERE)
    assert limiter.allow_connection(HERE)
    harness.now += rate_limits.TRUSTED_SECONDS + 1
    for _ in range(4):
        limiter.on_rejection(HERE)
    assert not limiter.allow_connection(HERE)


def test_trusted_address_is_blocked_beyond_its_limit(harness: LimiterHarness) -> None:
    limiter = harness.limiter(refused=Rate(per_second=1, burst=3))
    limiter.on_success(HERE, CLIENT)
    for _ in range(31):
        limiter.on_rejection(HERE)
    assert not limiter.allow_connection(HERE)
    assert not limiter.allow_request(HERE)
    limiter.on_success(HERE, CLIENT)
    assert not limiter.allow_connection(HERE), "another token would end the penalty at once"
    assert harness.blocked == [HERE]
    assert limiter.allow_connection(THERE)


def test_issued_token_ends_a_penalty(harness: LimiterHarness) -> None:
    """A trusted proxy's connection stays open; a granted request on it makes the address trusted."""
    limiter = harness.limiter(refused=Rate(per_second=1, burst=1))
    limiter.on_rejection(HERE)
    limiter.on_rejection(HERE)
    assert not limiter.allow_connection(HERE)
    limiter.on_success(HERE, CLIENT)
    assert limiter.allow_connection(HERE)


def test_zero_penalty_blocks_nothing(harness: LimiterHarness) -> None:
    limiter = harness.limiter(refused=Rate(per_second=1, burst=1), penalty_seconds=0)
    for _ in range(10):
        limiter.on_rejection(HERE)
    assert limiter.allow_connection(HERE)
    assert harness.blocked == []


def test_ipv6_network_counts_as_one_address(harness: LimiterHarness) -> None:
    limiter = harness.limiter(source=Rate(per_second=1, burst=1))
    assert limiter.acquire("2001:db8:1:2::1", "") is None
    assert limiter.acquire("2001:db8:1:2:ffff::9", "") is not None
    assert limiter.acquire("2001:db8:1:3::1", "") is None


def test_ipv4_mapped_ipv6_address_is_the_ipv4_address(harness: LimiterHarness) -> None:
    limiter = harness.limiter(source=Rate(per_second=1, burst=1))
    assert limiter.acquire(f"::ffff:{HERE}", "") is None
    assert limiter.acquire(HERE, "") is not None
    assert limiter.acquire(f"::ffff:{THERE}", "") is None


def test_stored_addresses_are_bounded(
    harness: LimiterHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limits, "MAX_ENTRIES", 10)
    limiter = harness.limiter(
        source=Rate(per_second=1, burst=1), refused=Rate(per_second=1, burst=1)
    )
    for number in range(100):
        source = f"10.0.0.{number}"
        limiter.acquire(source, "")
        limiter.on_success(source, CLIENT)
    assert len(limiter._sources._full._entries) == 10
    assert len(limiter._trusted._entries) == 10
    # The most recent address is stored; the first one was evicted and starts again with no record.
    assert limiter.acquire("10.0.0.99", "") is not None
    assert limiter.acquire("10.0.0.0", "") is None


def test_nothing_is_stored_without_a_limit(harness: LimiterHarness) -> None:
    limiter = harness.limiter()
    assert all(limiter.acquire(HERE, CLIENT) is None for _ in range(1000))
    assert limiter._sources._full._entries == {}


# Edge cases of the rate limiter: the end of a burst and of a penalty.


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


def test_trust_of_an_address_expires(harness: LimiterHarness) -> None:
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
