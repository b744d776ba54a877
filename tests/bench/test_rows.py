"""What `make bench` says of a row that misses what it has to reach."""

import pytest

from bench.asking import Load
from bench.rows import row, tell


@pytest.mark.parametrize(
    ("ratio", "least", "most", "missed"),
    [
        (0.69, 0.7, None, True),
        (0.7, 0.7, None, False),
        (1.01, None, 1, True),
        (1.0, None, 1, False),
        (9.0, None, None, False),
    ],
)
def test_a_row_that_misses_is_marked_and_counted(
    capsys: pytest.CaptureFixture[str],
    ratio: float,
    least: float | None,
    most: float | None,
    *,
    missed: bool,
) -> None:
    assert tell([row("what", "1/s", "2/s", ratio, least=least, most=most)]) == missed
    assert ("MISSED" in capsys.readouterr().out) == missed


def test_a_worker_that_sleeps_counts_against_the_others() -> None:
    """By the time they used alone, two of which one sleeps are as good as one."""
    one = Load(took=[0.001] * 100, seconds=1.0, each=[1.0], idle=0.0)
    half_asleep = Load(took=[0.001] * 100, seconds=1.0, each=[1.0, 0.0], idle=1.0)
    assert half_asleep.per_core_second == one.per_core_second
    assert half_asleep.per_left_second == one.per_left_second / 2
