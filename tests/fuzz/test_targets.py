"""A bounded number of fuzz inputs for every parser of untrusted bytes; `make fuzz` runs for longer."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS
from tests.suite_policy import examples

CORPUS = Path(__file__).with_name("corpus")
SEEDS = {
    name: [path.read_bytes() for path in sorted((CORPUS / name).iterdir())] for name in TARGETS
}
# `.ci/run` also runs `make fuzz` with thousands of inputs for each target.
EXAMPLES = {"http": 20, "growth": 5}
SPLICES = [
    *(b"", b"\0", b"\xff", b".", b"=", b"&", b"%00", b"%", b"\r\n", b"\n", b'"', b"\\u0000"),
    *(b"@", b"/.."),
]


def changed(seed: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """Cut a seed at places, and insert other bytes there."""
    for at, length, splice in cuts:
        at %= len(seed) + 1
        seed = seed[:at] + splice + seed[at + length :]
    return seed


def near_seeds(name: str) -> st.SearchStrategy[bytes]:
    """Return a strategy for changed seeds of a target, and for random bytes."""
    splice = st.sampled_from(SPLICES) | st.binary(max_size=6)
    cut = st.tuples(st.integers(0, 4096), st.integers(0, 8), splice)
    near = st.builds(changed, st.sampled_from(SEEDS[name]), st.lists(cut, max_size=3))
    return near | st.binary(max_size=120)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_inputs_that_failed_earlier_pass(name: str) -> None:
    assert SEEDS[name]
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.hypothesis  # for `make soak`, which does not see the property in the function
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_input_violates_a_rule_of_its_parser(name: str) -> None:
    @settings(
        max_examples=examples(EXAMPLES.get(name, 50)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=near_seeds(name))
    def check_inputs(data: bytes) -> None:
        TARGETS[name](data)

    check_inputs()
