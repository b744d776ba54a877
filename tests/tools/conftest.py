"""Instances started as a user starts them, each in a data dir of its own, and all ended afterwards."""

from collections.abc import Callable, Iterator

import pytest

from tools.instances import SEED, Podpass


@pytest.fixture(scope="session")
def make_podpass(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[], Podpass]]:
    """Give command lines on fresh data dirs; what they started is ended with the session."""
    made: list[Podpass] = []

    def make() -> Podpass:
        made.append(Podpass(tmp_path_factory.mktemp("instance") / "data"))
        return made[-1]

    yield make
    for each in made:
        if (each.data_dir / "lock").exists():
            each("down")


@pytest.fixture
def podpass(make_podpass: Callable[[], Podpass]) -> Podpass:
    return make_podpass()


@pytest.fixture(scope="session")
def running(make_podpass: Callable[[], Podpass]) -> Podpass:
    """An instance that tests share and leave running."""
    shared = make_podpass()
    seed = shared.data_dir.parent / "seed.yaml"
    seed.write_text(SEED)
    shared.up("--seed", str(seed))
    return shared
