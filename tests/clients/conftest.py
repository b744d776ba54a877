"""One instance for all clients; they run as pods in it, or through `podpass run`."""

from collections.abc import Iterator

import pytest

from journey.instance import Instance, started


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("clients")) as running:
        yield running
