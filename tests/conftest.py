"""What holds for every test: Hypothesis judges what is answered, not how quick a busy machine is."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import postgres
from tests.local.instances import SEED, Podpass

settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

BOTH = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
# The stores' own tests run on both kinds whole. Above them an edge decides alike whatever is below; on
# PostgreSQL it repeats what meets the other kind's order of text, pages, cost and conflicts.
_EDGES = ("tests/directory/graph/", "tests/directory/resource_manager/")
_ON_BOTH = {"test_cost", "test_credentials", "test_groups", "test_paging"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an edge's test would only repeat on PostgreSQL."""
    repeated = [item for item in items if _repeats(item)]
    items[:] = [item for item in items if item not in repeated]
    config.hook.pytest_deselected(items=repeated)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Note how it ended for `.ci/run`, which runs failed tests again only where all others ran."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    # `make rules` and `make mutation` keep nothing: an error here would look like a test that noticed.
    keeps = session.config.pluginmanager.has_plugin("cacheprovider")
    if keeps and reporter is not None and not hasattr(session.config, "workerinput"):
        told = {kind: len(reporter.stats.get(kind, ())) for kind in ("failed", "error", "passed")}
        bad = told["failed"] + told["error"]
        session.config.cache.set("podpass/ended", f"{int(exitstatus)} {bad} {told['passed']}")


def _repeats(item: pytest.Item) -> bool:
    at_edge = item.nodeid.startswith(_EDGES)
    return at_edge and bool(item.get_closest_marker("postgres")) and item.path.stem not in _ON_BOTH


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One server for all tests of a process; each test takes a database of its own from it."""
    with postgres.running() as server:
        yield server


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database, of each kind in turn; PostgreSQL only in `make test-postgres`.

    A module about one kind alone has a fixture of this name.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/directory.db"
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    url = server.fresh()
    yield url
    server.drop(url)


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
