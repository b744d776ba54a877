"""Fixtures of the soak tests."""

import pytest

from tests.soak.seed import choose_seed


@pytest.fixture
def seed() -> int:
    """Return the seed of this test and print it: pytest shows it when the test fails."""
    chosen = choose_seed()
    print(f"repeat with SOAK_SEED={chosen}")
    return chosen
