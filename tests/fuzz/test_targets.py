"""Every reader of untrusted bytes under a bounded shower of them; `make fuzz` lets it rain for longer."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")
SEEDS = {
    name: [path.read_bytes() for path in sorted((CORPUS / name).iterdir())] for name in TARGETS
}
SPLICES = [
    b"",
    b"\0",
    b"\xff",
    b".",
    b"=",
    b"&",
    b"%00",
    b"%",
    b"\r\n",
    b"\n",
    b'"',
    b"\\u0000",
    b"@",
    b"/..",
]


def changed(seed: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """Cut a seed in places, and put something there."""
    for at, length, splice in cuts:
        at %= len(seed) + 1
        seed = seed[:at] + splice + seed[at + length :]
    return seed


def around(name: str) -> st.SearchStrategy[bytes]:
    """Bytes near the seeds of a target, and bytes that are near nothing."""
    splice = st.sampled_from(SPLICES) | st.binary(max_size=6)
    cut = st.tuples(st.integers(0, 4096), st.integers(0, 8), splice)
    near = st.builds(changed, st.sampled_from(SEEDS[name]), st.lists(cut, max_size=3))
    return near | st.binary(max_size=120)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_once_was_found_is_not_found_again(name: str) -> None:
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_bytes_break_a_rule_of_their_reader(name: str) -> None:
    @settings(
        max_examples=150 if name == "http" else 400,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=around(name))
    def shower(data: bytes) -> None:
        TARGETS[name](data)

    shower()
