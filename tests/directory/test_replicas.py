"""Several replicas on one database: each notices a change by another one within a second."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from podpass.database import Database, DatabaseBusy
from podpass.directory import errors, resource_ids
from podpass.directory.model import FederatedCredential, Identity, RoleAssignment, Tenant
from podpass.directory.store.directory import Directory
from podpass.lab.services import create_directory
from podpass.lab.services.clusters.store import Clusters
from podpass.lab.services.vault.vaults import Vaults
from tests.directory import sample_resources

TENANT, SUB = sample_resources.TENANT, sample_resources.SUB
MakeIdentity = Callable[..., Identity]
MakeCredential = Callable[..., FederatedCredential]


@pytest.fixture
async def second_directory(directory: Directory, database_url: str) -> AsyncIterator[Directory]:
    """Provide a second directory with its own connection, like another process."""
    del directory
    async with create_directory(Database(database_url)) as made:
        yield made


async def wait_for_result(ask: Callable[[], Any], wanted: object) -> bool:
    """Poll until the result is as expected, for at most a second."""
    for _ in range(50):
        if await ask() == wanted:
            return True
        await asyncio.sleep(0.02)
    return False


async def test_credential_removed_by_one_replica_is_refused_by_all_after_a_second(
    directory: Directory,
    second_directory: Directory,
    make_identity: MakeIdentity,
    make_credential: MakeCredential,
) -> None:
    made = make_identity(credentials=(make_credential(),))
    await directory.identities.put(made)

    async def trusts() -> int:
        found = await second_directory.find_identity(TENANT, made.client_id)
        return 0 if found is None else len(found.credentials)

    assert await wait_for_result(trusts, 1)
    await directory.identities.delete_credential(TENANT, made.client_id, "web")
    assert await wait_for_result(trusts, 0)
    await directory.identities.delete(TENANT, made.client_id)
    assert await wait_for_result(
        lambda: second_directory.find_identity(TENANT, made.client_id), None
    )


async def test_role_removed_by_one_replica_grants_nothing_after_a_second(
    directory: Directory, second_directory: Directory
) -> None:
    given = RoleAssignment(scope=f"/subscriptions/{SUB}", principal_id="p", role="Reader")
    await directory.assign_role(given)
    assert await wait_for_result(lambda: _list_roles(second_directory), 1)
    [held] = await directory.assignments.list()
    await directory.assignments.delete(held.name)
    assert await wait_for_result(lambda: _list_roles(second_directory), 0)


async def _list_roles(directory: Directory) -> int:
    return len(await directory.roles_at("p", f"/subscriptions/{SUB}"))


async def test_write_into_a_group_that_another_replica_deletes_is_refused(
    directory: Directory, second_directory: Directory, make_identity: MakeIdentity
) -> None:
    """If the check and the write were two transactions, the resource could be in a deleted group."""
    for number in range(8):
        name = f"group-{number}"
        await directory.groups.put(sample_resources.group(name))
        made = make_identity(f"id-{number}", resource_id=resource_ids.identity_id(SUB, name, "web"))
        vault, cluster = (
            sample_resources.vault(f"vault-{number}", name),
            sample_resources.cluster("one", name),
        )
        await asyncio.gather(
            directory.groups.delete(SUB, name),
            second_directory.identities.put(made, grouped=True),
            second_directory.store(Vaults).put(vault, grouped=True),
            second_directory.store(Clusters).put(cluster, grouped=True),
            return_exceptions=True,
        )
        for put in (
            second_directory.identities.put(made, grouped=True),
            second_directory.store(Vaults).put(vault, grouped=True),
            second_directory.store(Clusters).put(cluster, grouped=True),
        ):
            with pytest.raises(errors.GroupNotFound):
                await put
    assert await directory.list_identities(TENANT) == []
    assert await directory.store(Vaults).list() == []
    assert await directory.store(Clusters).page(SUB) == []


async def test_changes_of_two_replicas_to_one_identity_are_both_stored(
    directory: Directory,
    second_directory: Directory,
    make_identity: MakeIdentity,
    make_credential: MakeCredential,
) -> None:
    made = make_identity()
    await directory.identities.put(made)
    puts = [
        one.identities.put_credential(TENANT, made.client_id, make_credential(f"{name}-{number}"))
        for number in range(8)
        for name, one in (("one", directory), ("two", second_directory))
    ]
    await asyncio.gather(*puts)
    found = await directory.find_identity(TENANT, made.client_id)
    assert found is not None
    assert len(found.credentials) == 16


async def test_two_replicas_that_start_together_create_the_tables_once(
    empty_database_url: str,
) -> None:
    opened = [Directory(Database(empty_database_url)) for _ in range(3)]
    await asyncio.gather(*(one.open() for one in opened))
    for one in opened:
        await one.create_tenant(Tenant(id=TENANT))
        await one.close()


async def test_closing_one_store_does_not_close_a_shared_database(database_url: str) -> None:
    async with Database(database_url) as database:
        async with Directory(database) as first, Directory(database) as second:
            await first.create_tenant(Tenant(id=TENANT))
            assert await second.find_tenant(TENANT) is not None
        assert database.is_open


@pytest.mark.postgres
async def test_cached_value_is_not_served_while_notifications_are_disconnected(
    postgres_server: Any, make_identity: MakeIdentity
) -> None:
    url = postgres_server.fresh()
    async with Directory(Database(url, patience=0.3)) as directory:
        await directory.create_tenant(Tenant(id=TENANT))
        made = make_identity()
        await directory.identities.put(made)
        assert await directory.find_identity(TENANT, made.client_id) is not None
        await asyncio.to_thread(postgres_server.stop)
        try:
            assert await wait_for_result(lambda: _there(directory, made), False)
        finally:
            await asyncio.to_thread(postgres_server.start)
        assert await wait_for_result(lambda: _there(directory, made), True)
    postgres_server.drop(url)


async def _there(directory: Directory, made: Identity) -> bool:
    try:
        return await directory.find_identity(TENANT, made.client_id) is not None
    except DatabaseBusy:
        return False


async def test_nul_character_is_an_invalid_value_on_either_database(directory: Directory) -> None:
    with pytest.raises(errors.InvalidValue):
        await directory.users.get("a\0b")
    with pytest.raises(errors.DirectoryError) as caught:
        await directory.assignments.put(
            RoleAssignment(scope="/s\0", principal_id="p", role="Reader")
        )
    assert caught.value.status == 400
    assert await directory.store(Vaults).get("a\0b") is None
    assert await directory.find_tenant("a\0b") is None
    assert await directory.users.find(TENANT, "a\0b") is None
