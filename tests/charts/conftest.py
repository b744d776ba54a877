"""Helm, built once; without Go the tests are skipped with a reason."""

import pytest

from bench.peers.build import CannotBuild, build_program
from tests.charts.rendering import Helm


@pytest.fixture(scope="session")
def helm() -> Helm:
    try:
        return Helm(str(build_program("helm")))
    except CannotBuild as exc:
        pytest.skip(f"helm: {exc}")
