"""One instance for all commands; each version of `az` has a home of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.az.running import VERSIONS, Az, started_for
from tests.journey.instance import Instance, started


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("az")) as running:
        yield running


@pytest.fixture(scope="module", params=VERSIONS)
def az(
    request: pytest.FixtureRequest, instance: Instance, tmp_path_factory: pytest.TempPathFactory
) -> Az:
    """Both versions, for what every user does."""
    return started_for(request.param, instance, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def newest(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> Az:
    """The newest alone, for the rest."""
    return started_for(VERSIONS[0], instance, tmp_path_factory.mktemp("home"))


@pytest.fixture
def group(request: pytest.FixtureRequest, newest: Az) -> Iterator[str]:
    """A resource group for one test, gone after it with all that is in it."""
    name = request.node.originalname.removeprefix("test_")[:60]
    newest(f"group create -n {name} -l westeurope")
    yield name
    newest(f"group delete -n {name} --yes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "azure"
