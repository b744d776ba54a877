"""One instance for all commands; each version of `az` has its own home directory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.az.az_cli import VERSIONS, AzCli, signed_in_cli
from tests.journey.instance import Instance, started


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("az")) as running:
        yield running


@pytest.fixture(scope="module", params=VERSIONS)
def az(
    request: pytest.FixtureRequest, instance: Instance, tmp_path_factory: pytest.TempPathFactory
) -> AzCli:
    """Return each of both versions, for common commands."""
    return signed_in_cli(request.param, instance, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def newest(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> AzCli:
    """Return the newest version only, for all other commands."""
    return signed_in_cli(VERSIONS[0], instance, tmp_path_factory.mktemp("home"))


@pytest.fixture
def group(request: pytest.FixtureRequest, newest: AzCli) -> Iterator[str]:
    """Create a resource group for one test; it is deleted afterwards with its resources."""
    name = request.node.originalname.removeprefix("test_")[:60]
    newest(f"group create -n {name} -l westeurope")
    yield name
    newest(f"group delete -n {name} --yes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "azure"
