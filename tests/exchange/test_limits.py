"""The gate: what each client and each address may ask, by a clock that is set by hand."""

from dataclasses import dataclass, field

import pytest

from podpass.exchange import rate_limits
from podpass.exchange.rate_limits import Gate, Rate, Rules

OFF = Rate(per_second=0, burst=1)
HERE, THERE = "192.0.2.1", "192.0.2.2"
CLIENT = "aaaaaaaa-3333-4333-8333-333333333333"


@dataclass
class Hand:
    """A gate, and the clock it goes by."""

    now: float = 1000.0
    penalised: list[str] = field(default_factory=list)

    def gate(
        self,
        *,
        client: Rate = OFF,
        source: Rate = OFF,
        refused: Rate = OFF,
        devices: Rate = OFF,
        penalty_seconds: float = 30,
        connections: int = 0,
    ) -> Gate:
        rules = Rules(
            client=client,
            source=source,
            refused=refused,
            devices=devices,
            penalty_seconds=penalty_seconds,
            connections=connections,
        )
        return Gate(rules, lambda: self.now, penalised=self.penalised.append)


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_an_address_may_burst_and_then_go_on_at_its_rate(hand: Hand) -> None:
    gate = hand.gate(source=Rate(per_second=2, burst=3))
    assert [gate.admit(HERE, "") for _ in range(3)] == [None] * 3
    assert gate.admit(HERE, "") == pytest.approx(0.5)
    hand.now += 0.5
    assert gate.admit(HERE, "") is None
    assert gate.admit(HERE, "") == pytest.approx(0.5)
    hand.now += 100
    assert [gate.admit(HERE, "") for _ in range(4)][:3] == [None] * 3


def test_one_address_does_not_use_up_another_ones_share(hand: Hand) -> None:
    gate = hand.gate(source=Rate(per_second=1, burst=1))
    assert gate.admit(HERE, "") is None
    assert gate.admit(HERE, "") is not None
    assert gate.admit(THERE, "") is None


def test_a_refused_wait_costs_nothing_so_it_ends(hand: Hand) -> None:
    """Who asks again too early must not push the end of its wait ahead of itself."""
    gate = hand.gate(source=Rate(per_second=1, burst=1))
    gate.admit(HERE, "")
    for _ in range(50):
        assert gate.admit(HERE, "") == pytest.approx(1)
    hand.now += 1
    assert gate.admit(HERE, "") is None


def test_a_client_is_charged_for_tokens_over_all_addresses(hand: Hand) -> None:
    gate = hand.gate(client=Rate(per_second=1, burst=2))
    for source in (HERE, THERE):
        assert gate.admit(source, CLIENT) is None
        gate.granted(source, CLIENT)
    assert gate.admit("192.0.2.3", CLIENT) == pytest.approx(1)
    assert gate.admit("192.0.2.3", CLIENT.upper()) == pytest.approx(1)
    assert gate.admit(HERE, CLIENT.replace("a", "b")) is None


def test_what_names_no_client_shares_none_s_limit(hand: Hand) -> None:
    gate = hand.gate(client=Rate(per_second=1, burst=1))
    for _ in range(5):
        assert gate.admit(HERE, "") is None
        gate.granted(HERE, "")


def test_nobody_can_use_up_a_client_s_share_without_a_token(hand: Hand) -> None:
    gate = hand.gate(client=Rate(per_second=1, burst=2))
    for _ in range(100):
        assert gate.admit(THERE, CLIENT) is None
        gate.refused(THERE)
    assert gate.admit(HERE, CLIENT) is None


def test_an_address_of_nothing_but_refused_requests_is_dropped_for_a_while(hand: Hand) -> None:
    gate = hand.gate(refused=Rate(per_second=1, burst=3))
    for _ in range(3):
        gate.refused(HERE)
    assert gate.accepts(HERE)
    gate.refused(HERE)
    assert not gate.accepts(HERE)
    assert gate.accepts(THERE)
    assert hand.penalised == [HERE]
    hand.now += 29.9
    assert not gate.accepts(HERE)
    hand.now += 0.1
    assert gate.accepts(HERE)


def test_who_is_shut_out_is_not_heard_on_what_it_kept_either(hand: Hand) -> None:
    """Fails when only new connections are refused: a flood would go on over those it has."""
    gate = hand.gate(refused=Rate(per_second=1, burst=3))
    for _ in range(4):
        assert gate.hears(HERE)
        assert gate.admit(HERE, CLIENT) is None
        gate.refused(HERE)
    assert not gate.hears(HERE)
    assert gate.admit(HERE, CLIENT) == pytest.approx(30)
    assert gate.hears(THERE)
    assert gate.admit(THERE, CLIENT) is None
    hand.now += 30
    assert gate.hears(HERE)
    assert gate.admit(HERE, CLIENT) is None


def test_an_address_has_so_many_device_codes_and_another_its_own(hand: Hand) -> None:
    gate = hand.gate(devices=Rate(per_second=0.01, burst=2))
    assert [gate.begins_device(HERE) for _ in range(2)] == [None, None]
    assert gate.begins_device(HERE) == pytest.approx(100)
    assert gate.begins_device(THERE) is None
    hand.now += 100
    assert gate.begins_device(HERE) is None
    free = hand.gate()
    assert [free.begins_device(HERE) for _ in range(100)] == [None] * 100


def test_refusals_now_and_then_are_no_flood(hand: Hand) -> None:
    gate = hand.gate(refused=Rate(per_second=1, burst=3))
    for _ in range(1000):
        gate.refused(HERE)
        hand.now += 1
    assert gate.accepts(HERE)


def test_an_address_with_good_requests_may_be_refused_ten_times_as_often(hand: Hand) -> None:
    """Behind it may be a whole cluster, with one misconfigured pod among thousands."""
    gate = hand.gate(refused=Rate(per_second=1, burst=3))
    gate.granted(HERE, CLIENT)
    for _ in range(30):
        gate.refused(HERE)
    assert gate.accepts(HERE)
    for _ in range(100):
        hand.now += 0.1
        gate.refused(HERE)
    assert gate.accepts(HERE)
    hand.now += rate_limits.GOOD_SECONDS + 1
    for _ in range(4):
        gate.refused(HERE)
    assert not gate.accepts(HERE)


def test_one_good_credential_is_no_leave_to_flood(hand: Hand) -> None:
    gate = hand.gate(refused=Rate(per_second=1, burst=3))
    gate.granted(HERE, CLIENT)
    for _ in range(31):
        gate.refused(HERE)
    assert not gate.accepts(HERE)
    assert not gate.hears(HERE)
    gate.granted(HERE, CLIENT)
    assert not gate.accepts(HERE), "another token would end the penalty at once"
    assert hand.penalised == [HERE]
    assert gate.accepts(THERE)


def test_a_token_ends_a_penalty(hand: Hand) -> None:
    """A connection that was open before it goes on; its good request shows what the address is."""
    gate = hand.gate(refused=Rate(per_second=1, burst=1))
    gate.refused(HERE)
    gate.refused(HERE)
    assert not gate.accepts(HERE)
    gate.granted(HERE, CLIENT)
    assert gate.accepts(HERE)


def test_without_a_penalty_nothing_is_dropped(hand: Hand) -> None:
    gate = hand.gate(refused=Rate(per_second=1, burst=1), penalty_seconds=0)
    for _ in range(10):
        gate.refused(HERE)
    assert gate.accepts(HERE)
    assert hand.penalised == []


def test_connections_of_one_address_are_bounded(hand: Hand) -> None:
    gate = hand.gate(connections=2)
    gate.opened(HERE)
    gate.opened(HERE)
    assert not gate.accepts(HERE)
    assert gate.accepts(THERE)
    gate.closed(HERE)
    assert gate.accepts(HERE)


def test_a_network_of_ipv6_counts_as_one_address(hand: Hand) -> None:
    gate = hand.gate(source=Rate(per_second=1, burst=1), connections=1)
    assert gate.admit("2001:db8:1:2::1", "") is None
    assert gate.admit("2001:db8:1:2:ffff::9", "") is not None
    assert gate.admit("2001:db8:1:3::1", "") is None
    gate.opened("2001:db8:1:2::1")
    assert not gate.accepts("2001:db8:1:2::2")


def test_an_ipv4_address_is_the_same_in_ipv6_clothes(hand: Hand) -> None:
    gate = hand.gate(source=Rate(per_second=1, burst=1))
    assert gate.admit(f"::ffff:{HERE}", "") is None
    assert gate.admit(HERE, "") is not None
    assert gate.admit(f"::ffff:{THERE}", "") is None


def test_what_is_remembered_is_bounded(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_KEPT", 10)
    gate = hand.gate(source=Rate(per_second=1, burst=1), refused=Rate(per_second=1, burst=1))
    for number in range(100):
        source = f"10.0.0.{number}"
        gate.admit(source, "")
        gate.granted(source, CLIENT)
    assert len(gate._sources._full._kept) == 10
    assert len(gate._good._kept) == 10
    # The one that was seen last is remembered, the first is as if it had never asked.
    assert gate.admit("10.0.0.99", "") is not None
    assert gate.admit("10.0.0.0", "") is None


def test_nothing_is_remembered_of_what_has_no_limit(hand: Hand) -> None:
    gate = hand.gate()
    assert all(gate.admit(HERE, CLIENT) is None for _ in range(1000))
    assert gate._sources._full._kept == {}
    gate.closed(HERE)
    assert gate._connections == {}
