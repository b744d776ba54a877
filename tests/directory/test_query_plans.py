"""Query plans of frequent queries: all of them use an index."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from podpass.directory.model import Identity, IdentityKind
from podpass.directory.store.directory import Directory
from podpass.directory.store.identities import Condition
from podpass.lab.services.clusters.store import Clusters
from podpass.lab.services.vault.vaults import Vaults

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
OTHER = "6d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


@contextmanager
def collect_plans(directory: Directory) -> Iterator[list[str]]:
    """Collect the query plan of every statement."""
    engine = directory._session.database._backend.engine
    found: list[str] = []

    def explain(connection: Any, _: Any, statement: str, parameters: Any, *__: Any) -> None:
        if statement.startswith(("SELECT", "DELETE", "UPDATE")):
            asked = connection.connection.dbapi_connection.cursor()
            asked.execute("EXPLAIN QUERY PLAN " + statement, parameters)
            found.extend(row[3] for row in asked.fetchall())

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def find_scans(found: list[str]) -> list[str]:
    """Return the steps that scan a whole table or sort rows."""
    assert found, "nothing was asked of the database"
    return [step for step in found if step.startswith("SCAN") or "TEMP B-TREE" in step]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"after": OTHER},
        {"kind": IdentityKind.APPLICATION, "after": OTHER},
        {"principals": True, "after": OTHER},
        {"group": SUB},
        {"group": SUB, "after": SUB + "/x", "kind": IdentityKind.MANAGED_IDENTITY},
        *(
            {"where": (Condition(field=field, op="eq", value="x"),)}
            for field in ("client_id", "object_id", "application_id", "unique_name")
        ),
        {"where": (Condition(field="name", op="eq", value="x"),)},
        {"where": (Condition(field="name", op="startswith", value="x"),)},
        {"where": (Condition(field="identifier_uri", op="eq", value="api://x"),)},
        {"where": (Condition(field="identifier_uri", op="startswith", value="api://x"),)},
    ],
)
async def test_page_is_read_from_an_index(directory: Directory, asked: dict[str, Any]) -> None:
    with collect_plans(directory) as found:
        await directory.identities.page(TENANT, limit=10, **asked)
    assert find_scans(found) == []


async def test_next_page_by_name_is_read_from_an_index(
    directory: Directory, make_identity: Callable[..., Identity]
) -> None:
    made = make_identity("x-first")
    await directory.identities.put(made)
    begins = (Condition(field="name", op="startswith", value="x"),)
    with collect_plans(directory) as found:
        await directory.identities.page(TENANT, where=begins, after=made.client_id, limit=10)
    assert find_scans(found) == []
    assert any("identities_by_name_key" in step for step in found)


@pytest.mark.parametrize(
    "name", ["object_id", "application_id", "resource_id", "unique_name", "identifier_uri"]
)
async def test_identity_is_found_by_an_index(directory: Directory, name: str) -> None:
    with collect_plans(directory) as found:
        await directory.identities.find(TENANT, **{name: "api://x"})
    assert find_scans(found) == []


async def test_token_lookups_use_an_index(
    directory: Directory, make_identity: Callable[..., Identity]
) -> None:
    made = make_identity(kind=IdentityKind.APPLICATION, resource_id=None)
    await directory.identities.put(made)
    with collect_plans(directory) as found:
        await directory.find_identity(TENANT, made.client_id)
        await directory.find_resource(TENANT, "api://x")
        await directory.store(Vaults).get("demo")
        await directory.roles_at("p", SUB)
        await directory.app_roles.roles_of("p", made.client_id)
        await directory.users.find(TENANT, "ann@contoso.example")
    assert find_scans(found) == []


async def test_management_queries_use_an_index(
    directory: Directory, make_identity: Callable[..., Identity]
) -> None:
    made = make_identity()
    await directory.identities.put(made)
    with collect_plans(directory) as found:
        await directory.assignments.list(under=SUB, limit=10)
        await directory.assignments.list(above=SUB)
        await directory.store(Vaults).page(SUB.rpartition("/")[2], limit=10)
        await directory.store(Clusters).page(SUB.rpartition("/")[2], limit=10)
        await directory.groups.page(SUB.rpartition("/")[2], limit=10)
        await directory.audit.list(after=100, limit=10)
        await directory.identities.delete(TENANT, made.client_id)
        await directory.groups.delete(SUB.rpartition("/")[2], "web")
    assert find_scans(found) == []
