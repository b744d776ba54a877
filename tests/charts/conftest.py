"""Helm, built once; without Go the tests are skipped with a reason."""

import pytest

from tests.charts.rendering import Helm
from tests.programs import built


@pytest.fixture(scope="session")
def helm() -> Helm:
    return Helm(str(built("helm")))
