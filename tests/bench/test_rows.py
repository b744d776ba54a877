"""How `make bench` reports a row that misses its target."""

import pytest

from bench.rows import print_rows, row
from bench.token_load import TokenLoad


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
def test_row_that_misses_its_target_is_marked_and_counted(
    capsys: pytest.CaptureFixture[str],
    ratio: float,
    least: float | None,
    most: float | None,
    *,
    missed: bool,
) -> None:
    assert print_rows([row("what", "1/s", "2/s", ratio, least=least, most=most)]) == missed
    assert ("MISSED" in capsys.readouterr().out) == missed


def test_idle_time_of_a_sleeping_worker_counts() -> None:
    """Per used CPU second, two workers of which one sleeps would look as good as one."""
    one = TokenLoad(took=[0.001] * 100, seconds=1.0, each=[1.0], idle=0.0)
    half_asleep = TokenLoad(took=[0.001] * 100, seconds=1.0, each=[1.0, 0.0], idle=1.0)
    assert half_asleep.per_core_second == one.per_core_second
    assert half_asleep.per_available_second == one.per_available_second / 2
