"""Helm itself, built once; without Go the tests are skipped by name."""

import pytest

from bench.peers.build import CannotBuild, built
from tests.charts.rendering import Helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    try:
        return Helm(str(built("helm")))
    except CannotBuild as exc:
        pytest.skip(f"helm: {exc}")
