"""Fixtures and collection rules of all tests."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from podpass.pytest.instance import Podpass as Instance
from tests import postgres
from tests.lab.instance.instances import SEED, Podpass

if TYPE_CHECKING:
    from tests.control_plane.plane import PlaneThread

pytest_plugins = (
    "podpass.pytest.plugin",
    "tests.process_reaper",
    "tests.saved_work",
    "tests.suite_policy",
)

BOTH = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))
# All tests of the stores run on both databases. The APIs above do not depend on the database; on PostgreSQL
# only the tests of text order, paging, cost and conflicts are repeated, and none of an invalid request.
_EDGES = ("tests/directory/graph/", "tests/directory/resource_manager/")
_ON_BOTH = {"test_cost", "test_credentials", "test_groups", "test_paging"}
_OF_INVALID_REQUESTS = "::test_invalid_"

# A shell starts a background run with SIGINT ignored, and the programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests of an API that would only be repeated on PostgreSQL."""
    repeated = [item for item in items if _repeats(item)]
    if repeated:
        removed = set(repeated)
        items[:] = [item for item in items if item not in removed]
        config.hook.pytest_deselected(items=repeated)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Store the result for `.ci/run`, which repeats failed tests only if all others ran."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    # `make rules` and `make mutation` have no cache; an error here would look like a failed test.
    has_cache = session.config.pluginmanager.has_plugin("cacheprovider")
    if has_cache and reporter is not None and not hasattr(session.config, "workerinput"):
        counts = {kind: len(reporter.stats.get(kind, ())) for kind in ("failed", "error", "passed")}
        failed = counts["failed"] + counts["error"]
        session.config.cache.set("run/ended", f"{int(exitstatus)} {failed} {counts['passed']}")


def _repeats(item: pytest.Item) -> bool:
    at_edge = item.nodeid.startswith(_EDGES) and bool(item.get_closest_marker("postgres"))
    return at_edge and (item.path.stem not in _ON_BOTH or _OF_INVALID_REQUESTS in item.nodeid)


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """A CA that the tests of a process share; each issues certificates of its own."""
    return trustme.CA()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """One server for all tests of a process; each test uses its own database."""
    with postgres.running() as server:
        yield server


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """A database for a store. A folder or a module for one kind overrides this fixture."""
    return empty_database_url


@pytest.fixture(params=BOTH)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a database of each kind without tables; PostgreSQL only in `make test-postgres`."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/directory.db"
        return
    server: postgres.Server = request.getfixturevalue("postgres_server")
    url = server.fresh()
    yield url
    server.drop(url)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator["PlaneThread"]:
    """Run one real control plane for tests that need no flags of their own.

    Each test removes its webhooks, and gives its objects names that no other test uses.
    """
    from tests.control_plane import plane  # `make rules` has no programs of a control plane

    with plane.running(tmp_path_factory.mktemp("plane")) as running:
        yield running


@pytest.fixture(scope="session")
def make_podpass(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Podpass]]:
    """Create command lines with new data directories; their instances are stopped with the session."""
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
def podpass_seed() -> str:
    """The seed of the instance that the pytest plugin starts."""
    return SEED


@pytest.fixture(scope="module")
def running(podpass_instance: Instance) -> Podpass:
    """The command line on the plugin's instance, which tests share and do not stop.

    Each module begins with the state of the seed: another vault or more audit entries would change outputs.
    """
    podpass_instance.reset()
    return Podpass(podpass_instance.data_dir)
