"""A failing database is reported with its cause, a corrupt row by table and key; other operations succeed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from podpass.database import (
    CorruptRowError,
    Database,
    DatabaseBusy,
    DatabaseFailed,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUnusable,
)
from podpass.directory.model import Identity, IdentityKind, RoleAssignment, RoleDefinition, Tenant
from podpass.directory.store.directory import Directory
from podpass.lab.services.vault.model import Vault
from podpass.lab.services.vault.vaults import Vaults
from tests.directory.database_faults import (
    INVALID_UTF8,
    corrupt,
    fill_disk,
    lock_database,
    make_read_only,
)

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
OTHER = "7c9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
MakeIdentity = Callable[..., Identity]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


def engine(directory: Directory) -> Any:
    return directory._session.database._backend.engine


def vault(name: str) -> Vault:
    here = f"/subscriptions/{SUB}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/{name}"
    return Vault(name=name, tenant_id=TENANT, location="eastus", resource_id=here)


@pytest.mark.parametrize(
    ("fault", "kind", "status"),
    [
        (fill_disk, DatabaseFull, 507),
        (make_read_only, DatabaseReadOnly, 507),
        (lock_database, DatabaseBusy, 503),
    ],
)
async def test_failed_write_is_reported_with_cause_and_hint(
    directory: Directory,
    make_identity: MakeIdentity,
    tmp_path: Path,
    fault: Any,
    kind: type[DatabaseFailed],
    status: int,
) -> None:
    existing = make_identity("kept")
    await directory.identities.put(existing)
    with fault(directory._session.database, tmp_path / "directory.db"):
        with pytest.raises(kind) as caught:
            await directory.identities.put(make_identity(document={"notes": "x" * 200_000}))
        assert await directory.find_identity(TENANT, existing.client_id) is not None
    assert caught.value.status == status
    assert caught.value.hint
    assert "SQLITE_" in str(caught.value.facts["cause"])
    assert "INSERT" not in repr(caught.value.facts)
    await directory.identities.put(make_identity("later"))


async def test_write_step_does_not_run_before_it_has_the_lock(tmp_path: Path) -> None:
    """Values that it read earlier may have changed when it writes."""
    path, ran = tmp_path / "turn.db", list[object]()
    async with Database(f"sqlite:///{path}", patience=0.1) as database:
        with lock_database(None, path), pytest.raises(DatabaseBusy):
            await database.write(ran.append)
    assert ran == []


async def test_reads_work_during_a_write_by_another_program(
    directory: Directory, tmp_path: Path
) -> None:
    """A backup program, or an administrator with sqlite3, must not block token requests."""
    with lock_database(directory._session.database, tmp_path / "directory.db"):
        assert [one.id for one in await directory.list_tenants()] == [TENANT]


async def test_all_statements_of_a_read_see_one_state(
    directory: Directory, make_identity: MakeIdentity, tmp_path: Path
) -> None:
    made = make_identity()
    await directory.identities.put(made)

    def step(connection: Connection) -> int | None:
        connection.exec_driver_sql("SELECT count(*) FROM identities").scalar()
        corrupt(
            tmp_path / "directory.db", "DELETE FROM identities WHERE client_id = ?", made.client_id
        )
        return connection.exec_driver_sql("SELECT count(*) FROM identities").scalar()

    assert await directory._session.read(step) == 1


async def test_database_that_cannot_be_opened_is_reported_with_the_reason(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/d.db"
    with lock_database(None, tmp_path / "d.db"), pytest.raises(DatabaseUnusable) as caught:
        await Directory(Database(url, patience=0.1)).open()
    assert "database is locked" in caught.value.message
    assert "another program" in caught.value.hint
    (tmp_path / "t.db").write_text("not a database, but long enough to be read as one" * 50)
    with pytest.raises(DatabaseUnusable) as caught:
        await Directory(Database(f"sqlite:///{tmp_path}/t.db")).open()
    assert "file is not a database" in caught.value.message
    assert "another database" not in caught.value.hint


@pytest.mark.parametrize("value", [INVALID_UTF8, "'zzz'", "42"])
async def test_tenant_with_an_invalid_id_is_a_corrupt_row(
    directory: Directory, tmp_path: Path, value: str
) -> None:
    """The subscription id is derived from it, and other tables are queried by it."""
    await directory.create_tenant(Tenant(id=OTHER, display_name="other", domains=()))
    corrupt(tmp_path / "directory.db", f"UPDATE tenants SET id = {value} WHERE id = ?", OTHER)
    with pytest.raises(CorruptRowError, match="in table tenants cannot be read") as caught:
        await directory.list_tenants()
    assert "backup" in caught.value.hint
    assert "delete" not in caught.value.hint, "its identities would be deleted with it"


async def test_name_of_a_corrupt_identity_is_not_available(
    directory: Directory, make_identity: MakeIdentity, tmp_path: Path
) -> None:
    made = make_identity("web", kind=IdentityKind.APPLICATION, resource_id=None)
    await directory.identities.put(made)
    corrupt(tmp_path / "directory.db", "UPDATE identities SET tags = 'x' WHERE name = ?", "web")
    with pytest.raises(CorruptRowError):
        await directory.list_identities(TENANT, "web")


@pytest.mark.parametrize("change", ["access = 'policy'", "policies = '[{\"x\": 1}]'", "tags = '1'"])
async def test_corrupt_vault_is_reported_and_keeps_its_secrets(
    directory: Directory, tmp_path: Path, change: str
) -> None:
    """If it were only left out, the purge job would delete its secrets like those of a purged vault."""
    for name in ("good-vault", "bad-vault"):
        await directory.store(Vaults).put(vault(name))
    found = await directory.store(Vaults).get("bad-vault")
    assert found is not None
    corrupt(tmp_path / "directory.db", f"UPDATE vaults SET {change} WHERE name = 'bad-vault'")
    directory._session.clear_caches()
    with pytest.raises(CorruptRowError, match="bad-vault in table vaults"):
        await directory.store(Vaults).get("bad-vault")
    assert [one.name for one in await directory.store(Vaults).list()] == ["good-vault"]
    assert [one.name for one in await directory.store(Vaults).page(SUB)] == ["good-vault"]
    assert found.uid in await directory.store(Vaults).uids()


async def test_corrupt_deleted_vault_is_not_purged_with_the_others(
    directory: Directory, tmp_path: Path, clock: list[float]
) -> None:
    for name in ("good-vault", "bad-vault"):
        await directory.store(Vaults).put(vault(name))
        await directory.store(Vaults).delete(name)
    corrupt(tmp_path / "directory.db", "UPDATE vaults SET tags = '' WHERE name = 'bad-vault'")
    assert [one.vault.name for one in await directory.store(Vaults).deleted()] == ["good-vault"]
    clock[0] += 91 * 24 * 3600
    assert [one.vault.name for one in await directory.store(Vaults).purge_expired()] == [
        "good-vault"
    ]
    assert len(await directory.store(Vaults).uids()) == 1


async def test_corrupt_role_grants_nothing_and_hides_no_other(
    directory: Directory, tmp_path: Path
) -> None:
    principal, scope = "4633458b-17de-408a-b874-0445c86b69e6", f"/subscriptions/{SUB}"
    custom = RoleDefinition(
        id="aaaaaaaa-0000-4000-8000-000000000001",
        name="mine",
        scopes=(scope,),
        actions=("*",),
        built_in=False,
    )
    await directory.role_definitions.put(custom)
    for role in (custom.id, "Reader"):
        given = RoleAssignment(scope=scope, principal_id=principal, role=role)
        await directory.assign_role(given)
    write = "Microsoft.Resources/subscriptions/resourceGroups/write"
    assert await directory.is_permitted(principal, write, scope)
    corrupt(tmp_path / "directory.db", "UPDATE role_definitions SET document = '{}'")
    directory._session.clear_caches()
    assert not await directory.is_permitted(principal, write, scope)
    assert await directory.is_permitted(principal, write.replace("write", "read"), scope)
    assert custom.id not in {one.id for one in await directory.role_definitions.list()}


async def test_list_of_1100_identities_stays_below_the_value_limit_of_a_statement(
    directory: Directory, make_identity: MakeIdentity
) -> None:
    asked: list[int] = []

    def note(_c: Any, _cursor: Any, _statement: str, values: Any, _context: Any, _m: bool) -> None:
        asked.append(len(values))

    await directory.identities.put_many(make_identity() for _ in range(1100))
    event.listen(engine(directory), "before_cursor_execute", note)
    assert len(await directory.list_identities(TENANT)) == 1100
    assert max(asked) <= 1001
