"""One instance for all commands; each version of `az` has its own home directory."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.az.az_cli import VERSIONS, AzCli, signed_in_cli
from tests.journey.instance import Instance, started


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with started(tmp_path_factory.mktemp("az")) as running:
        yield running


@pytest.fixture(scope="session")
def signed_in(
    instance: Instance, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], AzCli]:
    """Return a function that returns a version with the same environment in all tests."""
    homes = tmp_path_factory.mktemp("homes")
    return functools.cache(lambda version: signed_in_cli(version, instance, homes / version))


@pytest.fixture(scope="module", params=VERSIONS)
def az(request: pytest.FixtureRequest, signed_in: Callable[[str], AzCli]) -> AzCli:
    """Return each of both versions, for common commands."""
    return signed_in(request.param)


@pytest.fixture(scope="session")
def newest(signed_in: Callable[[str], AzCli]) -> AzCli:
    """Return the newest version only, for all other commands."""
    return signed_in(VERSIONS[0])


@pytest.fixture
def group(request: pytest.FixtureRequest, newest: AzCli) -> Iterator[str]:
    """Create a resource group for one test; it is deleted afterwards with its resources."""
    name = request.node.originalname.removeprefix("test_")[:60]
    newest(f"group create -n {name} -l westeurope")
    yield name
    newest(f"group delete -n {name} --yes")


@pytest.fixture(scope="module")
def vault(request: pytest.FixtureRequest, newest: AzCli) -> Iterator[str]:
    """Create the `VAULT` of a module with RBAC; the administrator has the module's `ROLE` there."""
    name = request.module.VAULT
    newest(f"group create -n {name} -l westeurope")
    scope = newest(f"keyvault create -n {name} -g {name} -l westeurope")["id"]
    me = newest("ad signed-in-user show")["id"]
    role = f'"{request.module.ROLE}"'
    newest(f"role assignment create --assignee {me} --role {role} --scope {scope}")
    yield name
    newest(f"group delete -n {name} --yes")
    newest(f"keyvault purge -n {name}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "azure"
