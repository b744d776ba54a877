"""One instance for the whole folder."""

from collections.abc import Iterator

import pytest

from journey.instance import CLIENT, SEED, Instance


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("journey")
    seed = folder / "seed.yaml"
    seed.write_text(SEED)
    running = Instance(folder / "data")
    running.up("--seed", str(seed))
    running.account("web", {"azure.workload.identity/client-id": CLIENT})
    yield running
    running.podpass("down")
