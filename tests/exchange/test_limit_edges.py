"""The gate at its edges: the last of a burst, the end of a penalty, the connection that is one too many."""

import pytest

from podpass.exchange import rate_limits
from podpass.exchange.rate_limits import Rate
from tests.exchange.test_limits import CLIENT, HERE, THERE, Hand


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_connections_of_an_address_are_counted_up_and_down(hand: Hand) -> None:
    gate = hand.gate(connections=2)
    assert gate.accepts(HERE)
    for _ in range(2):
        assert gate.accepts(HERE)
        gate.opened(HERE)
    assert (gate.accepts(HERE), gate.accepts(THERE)) == (False, True)
    gate.closed(HERE)
    assert gate.accepts(HERE)
    gate.opened(HERE)
    assert not gate.accepts(HERE)
    for _ in range(5):
        gate.closed(HERE)
    gate.opened(HERE)
    assert gate.accepts(HERE)
    gate.opened(HERE)
    assert not gate.accepts(HERE)


def test_an_address_without_connections_is_not_kept(hand: Hand) -> None:
    gate = hand.gate(connections=1)
    gate.opened(HERE)
    gate.closed(HERE)
    gate.closed(THERE)
    assert not gate._connections


def test_one_connection_is_the_most_where_it_says_one(hand: Hand) -> None:
    gate = hand.gate(connections=1)
    assert gate.accepts(HERE)
    gate.opened(HERE)
    assert not gate.accepts(HERE)


def test_a_penalty_ends_at_its_very_moment_and_can_begin_again(hand: Hand) -> None:
    gate = hand.gate(refused=Rate(per_second=1, burst=1), penalty_seconds=30)
    gate.refused(HERE)
    gate.refused(HERE)
    assert hand.penalised == [HERE]
    hand.now += 29.9
    assert not gate.accepts(HERE)
    gate.refused(HERE)
    hand.now += 0.1
    assert gate.accepts(HERE)
    assert gate.accepts(THERE)
    gate.refused(HERE)
    gate.refused(HERE)
    assert hand.penalised == [HERE, HERE]
    assert not gate.accepts(HERE)


def test_an_address_is_good_for_its_time_and_no_longer(hand: Hand) -> None:
    gate = hand.gate(refused=Rate(per_second=0.001, burst=1), penalty_seconds=30)
    gate.granted(HERE, CLIENT)
    hand.now += rate_limits.GOOD_SECONDS - 0.1
    for _ in range(3):
        gate.refused(HERE)
    assert gate.accepts(HERE)
    hand.now += 0.1
    for _ in range(3):
        gate.refused(HERE)
    assert not gate.accepts(HERE)


def test_what_is_good_is_renewed_in_the_second_half_of_its_time(hand: Hand) -> None:
    gate = hand.gate(refused=Rate(per_second=0.001, burst=1), penalty_seconds=30)
    gate.granted(HERE, CLIENT)
    hand.now += rate_limits.GOOD_SECONDS / 2 + 0.1
    gate.granted(HERE, CLIENT)
    hand.now += rate_limits.GOOD_SECONDS - 1
    for _ in range(3):
        gate.refused(HERE)
    assert gate.accepts(HERE)


def test_a_burst_is_counted_to_its_last_and_a_wait_is_told_exactly(hand: Hand) -> None:
    gate = hand.gate(devices=Rate(per_second=0.5, burst=2))
    assert [gate.begins_device(HERE) for _ in range(2)] == [None, None]
    assert gate.begins_device(HERE) == pytest.approx(2.0)
    hand.now += 1.5
    assert gate.begins_device(HERE) == pytest.approx(0.5)
    assert gate.begins_device(THERE) is None
    hand.now += 0.5
    assert gate.begins_device(HERE) is None


def test_what_was_seen_last_is_kept_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_KEPT", 2)
    recent = rate_limits._Recent()
    for name, when in (("a", 1.0), ("b", 2.0), ("a", 3.0), ("c", 4.0)):
        recent.put(name, when)
    assert (recent.get("a"), recent.get("b", -1.0), recent.get("c")) == (3.0, -1.0, 4.0)
