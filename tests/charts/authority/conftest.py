"""The chart of the token service, by the Helm of the folder above."""

import pytest

from charts.authority.rendering import Chart
from charts.rendering import Helm


@pytest.fixture(scope="session")
def chart(helm: Helm) -> Chart:
    return Chart(helm.binary)
