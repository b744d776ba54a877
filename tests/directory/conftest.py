"""Fixtures: directories, identities and credentials."""

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podpass.database import Database
from podpass.directory.model import FederatedCredential, Identity, Tenant
from podpass.directory.store.directory import Directory
from podpass.lab.services import create_directory
from tests import postgres
from tests.conftest import BOTH
from tests.postgres_pool import DatabasePool

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"


@pytest.fixture
def clock() -> list[float]:
    """Provide the time as a list with one element, which a test sets."""
    return [1_700_000_000.0]


@pytest.fixture(scope="session")
def empty_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a SQLite file with the tables and no rows; a new one costs as much as ten tests."""
    file = tmp_path_factory.mktemp("directory") / "directory.db"
    asyncio.run(_create_tables(f"sqlite:///{file}"))
    assert [each.name for each in file.parent.iterdir()] == [file.name], "changes are in the file"
    return file


async def _create_tables(url: str) -> None:
    async with create_directory(Database(url)):
        pass


@pytest.fixture(scope="session")
def postgres_pool(postgres_server: postgres.Server) -> Iterator[DatabasePool]:
    """Yield databases with tables and no rows.

    Creating and dropping the tables took two thirds of each test.
    """
    url = postgres_server.fresh()
    asyncio.run(_create_tables(url))
    pool = DatabasePool(postgres_server, url.rpartition("/")[2])
    yield pool
    pool.close()


@pytest.fixture(params=BOTH)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of a database of each kind without rows. On PostgreSQL it has the tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/directory.db"
        return
    pool: DatabasePool = request.getfixturevalue("postgres_pool")
    connection = pool.acquire()
    yield pool.server.url(connection.info.dbname)
    pool.release(connection)


@pytest.fixture
def directory_url(database_url: str, empty_directory: Path) -> str:
    """A database of each kind without rows; on SQLite with the tables already."""
    if database_url.startswith("sqlite:///"):
        shutil.copy(empty_directory, database_url.removeprefix("sqlite:///"))
    return database_url


@pytest.fixture
async def directory(directory_url: str, clock: list[float]) -> AsyncIterator[Directory]:
    async with create_directory(Database(directory_url), clock=lambda: clock[0]) as directory:
        await directory.create_tenant(
            Tenant(id=TENANT, display_name="Contoso", domains=("contoso.example",))
        )
        yield directory


@pytest.fixture
def make_identity() -> Callable[..., Identity]:
    def make(name: str = "web", **changes: Any) -> Identity:
        values: dict[str, Any] = {
            "tenant_id": TENANT,
            "client_id": str(uuid.uuid4()),
            "object_id": str(uuid.uuid4()),
            "name": name,
            "resource_id": f"/subscriptions/s/identities/{uuid.uuid4()}",
        }
        return Identity(**(values | changes))

    return make


@pytest.fixture
def make_credential() -> Callable[..., FederatedCredential]:
    def make(name: str = "web", **changes: Any) -> FederatedCredential:
        values: dict[str, Any] = {
            "name": name,
            "issuer": "https://issuer.example/tenant/",
            "subject": f"system:serviceaccount:default:{name}",
            "audiences": ("api://AzureADTokenExchange",),
        }
        return FederatedCredential(**(values | changes))

    return make
