"""Vaults: mutable and immutable attributes, soft delete, recovery and purge."""

from dataclasses import replace

import pytest

from podpass.directory import errors
from podpass.directory.model import AccessPolicy, RoleAssignment, WriteResult
from podpass.directory.store.directory import Directory
from podpass.lab.services.vault.authorization import find_vault
from podpass.lab.services.vault.errors import VaultNotFound
from podpass.lab.services.vault.model import VaultAccess
from podpass.lab.services.vault.vaults import Vaults
from tests.directory.sample_resources import SUB, TENANT, group, vault

DAY = 24 * 3600
OTHER = "6d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"


async def test_vault_is_read_back_with_all_its_attributes(directory: Directory) -> None:
    policy = AccessPolicy(
        object_id=OTHER,
        tenant_id=TENANT,
        secrets=("get", "list"),
        application_id=TENANT,
        document={"keys": ["get"]},
    )
    made = vault(
        "demo-vault",
        "web",
        access=VaultAccess.POLICIES,
        policies=(policy,),
        retention_days=7,
        purge_protection=True,
        tags={"a": "b"},
        document={"sku": {"name": "standard"}},
    )
    assert await directory.store(Vaults).put(made) is WriteResult.CREATED
    found = await directory.store(Vaults).get("DEMO-vault")
    assert found is not None
    assert found == replace(made, uid=found.uid, created=found.created)
    assert found.uid
    assert found.created > 0


async def test_uid_of_a_vault_never_changes(directory: Directory) -> None:
    """The uid identifies its secrets: a write must not detach them or attach those of another vault."""
    await directory.store(Vaults).put(vault("demo-vault", "web"))
    before = await directory.store(Vaults).get("demo-vault")
    assert before is not None
    await directory.store(Vaults).change(
        "demo-vault", lambda old: replace(old, uid="other", tags={"a": ""})
    )
    after = await directory.store(Vaults).get("demo-vault")
    assert after is not None
    assert after.uid == before.uid


async def test_purge_protection_cannot_be_turned_off(directory: Directory) -> None:
    await directory.store(Vaults).put(vault("demo-vault", "web", purge_protection=True))
    with pytest.raises(errors.Conflict, match="purge protection cannot be turned off"):
        await directory.store(Vaults).change(
            "demo-vault", lambda old: replace(old, purge_protection=False)
        )


@pytest.mark.parametrize("days", [6, 91])
async def test_retention_time_is_7_to_90_days(directory: Directory, days: int) -> None:
    with pytest.raises(errors.InvalidValue):
        await directory.store(Vaults).put(vault("demo-vault", "web", retention_days=days))


async def test_deleted_vault_keeps_its_name_and_is_recovered_without_role_assignments(
    directory: Directory,
) -> None:
    await directory.groups.put(group("web"))
    made = vault("demo-vault", "web")
    await directory.store(Vaults).put(made)
    before = await directory.store(Vaults).get("demo-vault")
    given = RoleAssignment(scope=made.resource_id, principal_id="p", role="Reader")
    await directory.assign_role(given)
    assert await directory.store(Vaults).delete("demo-vault") is not None
    assert await directory.store(Vaults).delete("demo-vault") is None
    assert await directory.store(Vaults).get("demo-vault") is None
    with pytest.raises(errors.NameHeld) as caught:
        await directory.store(Vaults).put(vault("demo-vault", "other"))
    assert caught.value.facts["resource_id"] == made.resource_id
    assert await directory.store(Vaults).recover("Demo-Vault") == before
    assert await directory.store(Vaults).get("demo-vault") == before
    assert await directory.assignments.list() == []
    with pytest.raises(errors.NotFound):
        await directory.store(Vaults).recover("demo-vault")


async def test_vault_is_not_recovered_into_a_deleted_group(directory: Directory) -> None:
    await directory.groups.put(group("web"))
    await directory.store(Vaults).put(vault("demo-vault", "web"))
    await directory.groups.delete(SUB, "web")
    with pytest.raises(errors.NotFound) as caught:
        await directory.store(Vaults).recover("demo-vault")
    assert caught.value.facts["group"] == "web"
    await directory.groups.put(group("web"))
    assert (await directory.store(Vaults).recover("demo-vault")).name == "demo-vault"


async def test_vault_with_a_reused_name_has_no_old_secrets(directory: Directory) -> None:
    await directory.store(Vaults).put(vault("demo-vault", "web"))
    first = await directory.store(Vaults).get("demo-vault")
    await directory.store(Vaults).delete("demo-vault")
    gone = await directory.store(Vaults).purge("demo-vault")
    assert gone.vault == first
    await directory.store(Vaults).put(vault("demo-vault", "web"))
    second = await directory.store(Vaults).get("demo-vault")
    assert first is not None
    assert second is not None
    assert first.uid != second.uid


async def test_protected_vault_is_purged_only_after_its_retention_time(
    directory: Directory, clock: list[float]
) -> None:
    made = vault("demo-vault", "web", purge_protection=True, retention_days=7)
    await directory.store(Vaults).put(made)
    await directory.store(Vaults).delete("demo-vault")
    clock[0] += 7 * DAY - 1
    with pytest.raises(errors.PurgeProtected) as caught:
        await directory.store(Vaults).purge("demo-vault")
    assert caught.value.facts["name"] == "demo-vault"
    assert await directory.store(Vaults).purge_expired() == []
    assert (
        len(await directory.store(Vaults).deleted(SUB, location="eastus", name="demo-vault")) == 1
    )
    clock[0] += 1
    assert await directory.store(Vaults).deleted() == []
    with pytest.raises(errors.NotFound):
        await directory.store(Vaults).recover("demo-vault")
    assert [one.vault.name for one in await directory.store(Vaults).purge_expired()] == [
        "demo-vault"
    ]
    with pytest.raises(errors.NotFound):
        await directory.store(Vaults).purge("demo-vault")


async def test_name_of_a_deleted_vault_is_available_after_its_retention_time(
    directory: Directory, clock: list[float]
) -> None:
    await directory.store(Vaults).put(vault("demo-vault", "web", retention_days=7))
    await directory.store(Vaults).delete("demo-vault")
    clock[0] += 7 * DAY
    assert await directory.store(Vaults).put(vault("demo-vault", "other")) is WriteResult.CREATED


async def test_vaults_of_a_group_or_subscription_are_listed_in_pages(directory: Directory) -> None:
    for name, place in (("vault-b", "web"), ("vault-a", "WEB"), ("vault-c", "web2")):
        await directory.store(Vaults).put(vault(name, place))
    first = await directory.store(Vaults).page(SUB.upper(), limit=2)
    assert [one.name for one in first] == ["vault-a", "vault-b"]
    rest = await directory.store(Vaults).page(SUB, after=first[-1].resource_id, limit=2)
    assert [one.name for one in rest] == ["vault-c"]
    assert [one.name for one in await directory.store(Vaults).page(SUB, group="Web2")] == [
        "vault-c"
    ]
    assert await directory.store(Vaults).page(TENANT) == []


async def test_single_vault_is_found_without_its_name(directory: Directory) -> None:
    vaults = directory.store(Vaults)
    with pytest.raises(VaultNotFound):
        await find_vault(vaults, None)
    await vaults.put(vault("one-vault", "web"))
    assert (await find_vault(vaults, None)).name == "one-vault"
    await vaults.put(vault("two-vault", "web"))
    assert (await find_vault(vaults, "two-vault")).name == "two-vault"
    for name in (None, "three-vault"):
        with pytest.raises(VaultNotFound):
            await find_vault(vaults, name)
