"""Several processes on one directory: what one changes, every other knows within a second."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from podpass.database import Database, DatabaseBusy
from podpass.directory import errors, resource_ids
from podpass.directory.model import FederatedCredential, Identity, RoleAssignment, Tenant
from podpass.directory.store.directory import Directory
from tests.directory import shapes

TENANT, SUB = shapes.TENANT, shapes.SUB
MakeIdentity = Callable[..., Identity]
MakeCredential = Callable[..., FederatedCredential]


@pytest.fixture
async def other(directory: Directory, database_url: str) -> AsyncIterator[Directory]:
    """The same directory in what is another process as far as the database knows."""
    del directory
    async with Directory(Database(database_url)) as made:
        yield made


async def seen(ask: Callable[[], Any], wanted: object) -> bool:
    """Ask until the answer is as wanted, for a second."""
    for _ in range(50):
        if await ask() == wanted:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_credential_that_one_removes_is_trusted_by_none_a_second_later(
    directory: Directory,
    other: Directory,
    make_identity: MakeIdentity,
    make_credential: MakeCredential,
) -> None:
    made = make_identity(credentials=(make_credential(),))
    await directory.identities.put(made)

    async def trusts() -> int:
        found = await other.find_identity(TENANT, made.client_id)
        return 0 if found is None else len(found.credentials)

    assert await seen(trusts, 1)
    await directory.identities.delete_credential(TENANT, made.client_id, "web")
    assert await seen(trusts, 0)
    await directory.identities.delete(TENANT, made.client_id)
    assert await seen(lambda: other.find_identity(TENANT, made.client_id), None)


async def test_a_role_that_one_takes_away_permits_nothing_a_second_later(
    directory: Directory, other: Directory
) -> None:
    given = RoleAssignment(scope=f"/subscriptions/{SUB}", principal_id="p", role="Reader")
    await directory.assign_role(given)
    assert await seen(lambda: _held(other), 1)
    [held] = await directory.assignments.list()
    await directory.assignments.delete(held.name)
    assert await seen(lambda: _held(other), 0)


async def _held(directory: Directory) -> int:
    return len(await directory.roles_at("p", f"/subscriptions/{SUB}"))


async def test_nothing_is_put_into_a_group_that_another_deletes(
    directory: Directory, other: Directory, make_identity: MakeIdentity
) -> None:
    """Looked up first and made afterwards, it would lie in a group that is gone."""
    for number in range(8):
        name = f"group-{number}"
        await directory.groups.put(shapes.group(name))
        made = make_identity(f"id-{number}", resource_id=resource_ids.identity_id(SUB, name, "web"))
        vault, cluster = shapes.vault(f"vault-{number}", name), shapes.cluster("one", name)
        await asyncio.gather(
            directory.groups.delete(SUB, name),
            other.identities.put(made, grouped=True),
            other.vaults.put(vault, grouped=True),
            other.clusters.put(cluster, grouped=True),
            return_exceptions=True,
        )
        for put in (
            other.identities.put(made, grouped=True),
            other.vaults.put(vault, grouped=True),
            other.clusters.put(cluster, grouped=True),
        ):
            with pytest.raises(errors.GroupNotFound):
                await put
    assert await directory.list_identities(TENANT) == []
    assert await directory.list_vaults() == []
    assert await directory.clusters.page(SUB) == []


async def test_changes_of_two_processes_to_one_identity_are_both_kept(
    directory: Directory,
    other: Directory,
    make_identity: MakeIdentity,
    make_credential: MakeCredential,
) -> None:
    made = make_identity()
    await directory.identities.put(made)
    puts = [
        one.identities.put_credential(TENANT, made.client_id, make_credential(f"{name}-{number}"))
        for number in range(8)
        for name, one in (("one", directory), ("two", other))
    ]
    await asyncio.gather(*puts)
    found = await directory.find_identity(TENANT, made.client_id)
    assert found is not None
    assert len(found.credentials) == 16


async def test_two_that_start_at_once_make_the_tables_once(database_url: str) -> None:
    opened = [Directory(Database(database_url)) for _ in range(3)]
    await asyncio.gather(*(one.open() for one in opened))
    for one in opened:
        await one.create_tenant(Tenant(id=TENANT))
        await one.close()


async def test_several_stores_share_a_database_and_none_closes_it_for_the_others(
    database_url: str,
) -> None:
    async with Database(database_url) as database:
        async with Directory(database) as first, Directory(database) as second:
            await first.create_tenant(Tenant(id=TENANT))
            assert await second.find_tenant(TENANT) is not None
        assert database.is_open


@pytest.mark.postgres
async def test_what_is_kept_is_not_served_when_nobody_is_heard_any_more(
    postgres_server: Any, make_identity: MakeIdentity
) -> None:
    url = postgres_server.fresh()
    async with Directory(Database(url, patience=0.3)) as directory:
        await directory.create_tenant(Tenant(id=TENANT))
        made = make_identity()
        await directory.identities.put(made)
        assert await directory.find_identity(TENANT, made.client_id) is not None
        postgres_server.stop()
        try:
            assert await seen(lambda: _there(directory, made), False)
        finally:
            postgres_server.start()
        assert await seen(lambda: _there(directory, made), True)
    postgres_server.drop(url)


async def _there(directory: Directory, made: Identity) -> bool:
    try:
        return await directory.find_identity(TENANT, made.client_id) is not None
    except DatabaseBusy:
        return False


async def test_a_nul_character_is_a_bad_value_on_either_database(directory: Directory) -> None:
    with pytest.raises(errors.InvalidValue):
        await directory.users.get("a\0b")
    with pytest.raises(errors.DirectoryError) as caught:
        await directory.assignments.put(
            RoleAssignment(scope="/s\0", principal_id="p", role="Reader")
        )
    assert caught.value.status == 400
    assert await directory.find_vault("a\0b") is None
    assert await directory.find_tenant("a\0b") is None
    assert await directory.users.find(TENANT, "a\0b") is None
