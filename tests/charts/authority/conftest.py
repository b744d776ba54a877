"""The chart of the token service, with the Helm program of the parent folder."""

import pytest

from tests.charts.authority.rendering import AuthorityChart
from tests.charts.rendering import Helm


@pytest.fixture(scope="session")
def chart(helm: Helm) -> AuthorityChart:
    return AuthorityChart(helm.binary)
