"""One instance for all clients, and the ways a client runs: as a pod, or through `podpass run`."""

from collections.abc import Iterator

import pytest

from journey.instance import CLIENT, SEED, Instance


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("clients")
    seed = folder / "seed.yaml"
    seed.write_text(SEED)
    running = Instance(folder / "data")
    running.up("--seed", str(seed))
    running.account("web", {"azure.workload.identity/client-id": CLIENT})
    yield running
    running.podpass("down")
