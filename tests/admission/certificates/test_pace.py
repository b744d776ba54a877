"""How often something is done that somebody keeps undoing."""

from podpass.admission.certificates.ca_injector import Pace


def test_a_first_time_is_at_once_and_each_further_one_later() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0], 1, 8)
    gaps: list[float] = []
    for _ in range(6):
        assert pace.allows
        pace.spend()
        assert not pace.allows
        gaps.append(pace.wait_seconds)
        now[0] += pace.wait_seconds
    assert gaps == [1, 2, 4, 8, 8, 8]
    assert pace.is_contested


def test_when_it_was_not_needed_for_a_while_it_is_at_once_again() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0], 1, 8)
    for _ in range(3):
        pace.spend()
        now[0] += pace.wait_seconds
    assert pace.is_contested
    now[0] += 4 * 4
    assert not pace.is_contested
    pace.spend()
    assert pace.wait_seconds == 1
