"""Fixtures for pytest: a cluster for the session, and a namespace or a reset for each test."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from kubeling.instance import Cluster

_KUBECONFIG = "kubeling_kubeconfig"
_FILE = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting for clients that read KUBECONFIG."""
    what = "set KUBECONFIG to the kubeconfig of kubeling_cluster for the time of the session"
    parser.addini(_KUBECONFIG, what, type="bool", default=False)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Set KUBECONFIG, if the setting says so, before pytest imports conftest.py and tests.

    The official Python client reads the variable when it is imported. The file exists from the first test on.
    """
    if not early_config.getini(_KUBECONFIG):
        return
    import tempfile

    folder = tempfile.TemporaryDirectory(prefix="kubeling-")
    early_config.add_cleanup(folder.cleanup)
    patch = pytest.MonkeyPatch()
    early_config.add_cleanup(patch.undo)
    early_config.stash[_FILE] = Path(folder.name, "kubeconfig")
    patch.setenv("KUBECONFIG", str(early_config.stash[_FILE]))


@pytest.fixture(scope="session")
def kubeling_options() -> dict[str, Any]:
    """Override this fixture to start the cluster with other arguments of `kubeling.Cluster`."""
    return {}


@pytest.fixture(scope="session")
def kubeling_cluster(kubeling_options: dict[str, Any]) -> "Iterator[Cluster]":
    """Run one cluster for the session; each worker of pytest-xdist has its own."""
    from kubeling.instance import Cluster

    with Cluster(**kubeling_options) as cluster:
        yield cluster


@pytest.fixture(scope="session", autouse=True)
def _kubeling_environment(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start the cluster and write the file of KUBECONFIG, if the setting says so."""
    if (file := request.config.stash.get(_FILE, None)) is None:
        yield
        return
    from kubeling.files import write_private

    cluster: Cluster = request.getfixturevalue("kubeling_cluster")
    write_private(file, cluster.kubeconfig.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (cluster.env() | {"KUBECONFIG": str(file)}).items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def kubeling_reset(kubeling_cluster: "Cluster") -> "Iterator[Cluster]":
    """Use the cluster of the session, and restore its objects after the test."""
    before = kubeling_cluster.snapshot()
    yield kubeling_cluster
    kubeling_cluster.reset(before)


@pytest.fixture
def kubeling_namespace(kubeling_cluster: "Cluster") -> Iterator[str]:
    """Create a namespace with a new name; delete it after the test."""
    name = kubeling_cluster.namespace()
    yield name
    kubeling_cluster.delete_namespace(name)
