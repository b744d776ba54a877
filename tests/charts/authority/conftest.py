"""The chart of the token service, by the Helm of the folder above."""

import pytest

from tests.charts.authority.rendering import Chart
from tests.charts.rendering import Helm


@pytest.fixture(scope="session")
def chart(helm: Helm) -> Chart:
    return Chart(helm.binary)
