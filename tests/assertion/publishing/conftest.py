"""An issuer whose first key is published."""

from pathlib import Path

import pytest

from tests.assertion.publishing import issuer
from tests.assertion.publishing.issuer import Issuer


@pytest.fixture
def new_issuer(tmp_path: Path) -> Issuer:
    return issuer.create(tmp_path / "issuer")


@pytest.fixture
def published_issuer(new_issuer: Issuer) -> Issuer:
    assert new_issuer.rotate(start=False) is None
    return new_issuer
