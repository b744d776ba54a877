"""One instance for all samples; the tutorial starts a separate instance."""

from collections.abc import Iterator

import pytest

from tests.journey.instance import Instance, started


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("samples")) as running:
        yield running
