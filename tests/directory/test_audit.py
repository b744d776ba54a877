"""The audit log: each change once, with actor and time; writes without a change are not recorded."""

import uuid
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import update

from podpass.directory import errors
from podpass.directory.actor import Actor, acting
from podpass.directory.model import FederatedCredential, Identity, IdentityKind, RoleAssignment
from podpass.directory.store import audit_writer
from podpass.directory.store.directory import Directory
from podpass.directory.store.schema import audit_entries
from podpass.lab.services.vault.vaults import Vaults
from podpass.log import correlation_id
from tests.directory.database_faults import skipped_rows
from tests.directory.sample_resources import SUB, TENANT, group, vault

MakeIdentity = Callable[..., Identity]
MakeCredential = Callable[..., FederatedCredential]
MANAGED = "Microsoft.ManagedIdentity/userAssignedIdentities"


async def list_actions(directory: Directory) -> list[str]:
    """List the actions since the creation of the tenant, oldest first."""
    found = await directory.audit.list(limit=1000)
    return [one.action for one in reversed(found)][1:]


async def test_audit_entry_has_actor_time_and_request_id(
    directory: Directory, clock: list[float]
) -> None:
    clock[0] += 50
    token = correlation_id.set("the-request")
    with acting(Actor(object_id="o", name="ann@contoso.example")):
        await directory.groups.put(group("web"))
    correlation_id.reset(token)
    await directory.groups.put(group("other"))
    by_podpass, by_ann = await directory.audit.list(limit=2)
    assert (by_ann.actor, by_ann.actor_name, by_ann.time) == ("o", "ann@contoso.example", clock[0])
    assert by_ann.correlation_id == "the-request"
    assert by_ann.action == "Microsoft.Resources/subscriptions/resourceGroups/write"
    assert by_ann.target == f"/subscriptions/{SUB}/resourceGroups/web"
    assert (by_podpass.actor, by_podpass.actor_name) == ("", "podpass")


async def test_failed_write_or_write_without_change_is_not_recorded(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    made = make_identity(credentials=(make_credential(),))
    await directory.identities.put(made)
    before = await directory.audit.list()
    await directory.identities.put(made)
    await directory.identities.put_credential(TENANT, made.client_id, make_credential())
    await directory.identities.change(TENANT, made.client_id, lambda old: old)
    with pytest.raises(errors.Conflict):
        await directory.identities.put(replace(made, resource_id="/other"))
    with pytest.raises(errors.Conflict):
        await directory.identities.put(make_identity(object_id=made.object_id))
    assert not await directory.identities.delete(TENANT, str(uuid.uuid4()))
    assert await directory.audit.list() == before


async def test_each_change_of_a_managed_identity_has_its_own_action(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    made = make_identity()
    await directory.identities.put(made)
    await directory.identities.put_credential(TENANT, made.client_id, make_credential())
    await directory.identities.delete_credential(TENANT, made.client_id, "web")
    await directory.identities.delete(TENANT, made.client_id)
    assert await list_actions(directory) == [
        f"{MANAGED}/write",
        f"{MANAGED}/federatedIdentityCredentials/write",
        f"{MANAGED}/federatedIdentityCredentials/delete",
        f"{MANAGED}/delete",
    ]
    entry = (await directory.audit.list())[1]
    assert entry.target == f"{made.resource_id}/federatedIdentityCredentials/web"


async def test_each_change_of_an_application_has_its_own_action(
    directory: Directory, make_identity: MakeIdentity, make_credential: MakeCredential
) -> None:
    made = make_identity(kind=IdentityKind.APPLICATION, resource_id=None, has_principal=False)
    await directory.identities.put(made)
    key = (TENANT, made.client_id)
    await directory.identities.change(*key, lambda old: replace(old, has_principal=True))
    await directory.identities.change(*key, lambda old: replace(old, enabled=False))
    await directory.identities.change(*key, lambda old: replace(old, name="other"))
    await directory.identities.put_credential(*key, make_credential())
    await directory.identities.delete(*key)
    assert await list_actions(directory) == [
        "microsoft.directory/applications/create",
        "microsoft.directory/servicePrincipals/create",
        "microsoft.directory/servicePrincipals/basic/update",
        "microsoft.directory/applications/basic/update",
        "microsoft.directory/applications/credentials/update",
        "microsoft.directory/servicePrincipals/delete",
        "microsoft.directory/applications/delete",
    ]


async def test_cascading_delete_records_every_deleted_object(
    directory: Directory, make_identity: MakeIdentity
) -> None:
    scope = f"/subscriptions/{SUB}/resourceGroups/web"
    await directory.groups.put(group("web"))
    await directory.identities.put(make_identity(resource_id=f"{scope}/providers/x/mine"))
    await directory.store(Vaults).put(vault("demo-vault", "web"))
    await directory.assign_role(RoleAssignment(scope=scope, principal_id="p", role="Reader"))
    before = len(await directory.audit.list())
    await directory.groups.delete(SUB, "web")
    assert (await list_actions(directory))[before - 1 :] == [
        f"{MANAGED}/delete",
        "Microsoft.KeyVault/vaults/delete",
        "Microsoft.Authorization/roleAssignments/delete",
        "Microsoft.Resources/subscriptions/resourceGroups/delete",
    ]


async def test_audit_log_is_listed_in_pages_newest_first(
    directory: Directory, clock: list[float]
) -> None:
    for number in range(5):
        clock[0] += 1
        await directory.audit.record(
            audit_writer.create_entry(f"action/{number}", "target", clock[0])
        )
    first = await directory.audit.list(limit=2)
    assert [one.action for one in first] == ["action/4", "action/3"]
    rest = await directory.audit.list(after=first[-1].serial, limit=2)
    assert [one.action for one in rest] == ["action/2", "action/1"]
    late = await directory.audit.list(since=clock[0] - 1)
    assert [one.action for one in late] == ["action/4", "action/3"]


@pytest.mark.parametrize("stored", ["", "{", "[]", '"text"', '{"role": 5}'])
async def test_entry_with_corrupt_details_is_reported_and_the_others_are_listed(
    directory: Directory, caplog: pytest.LogCaptureFixture, stored: str
) -> None:
    await directory.groups.put(group("web"))
    await directory.assign_role(RoleAssignment(scope="/s", principal_id="p", role="Reader"))
    before = await directory.audit.list()
    assert before[0].details["principal"] == "p"
    assert " " not in before[0].target
    change = update(audit_entries).where(audit_entries.c.serial == before[0].serial)
    await directory._session.write(
        lambda write: write.connection.execute(change.values(details=stored))
    )
    assert await directory.audit.list() == before[1:]
    [cause] = skipped_rows(caplog)
    assert f"{before[0].serial} in table audit_entries cannot be read" in cause


async def test_audit_entry_of_another_store_does_not_clear_caches(
    directory: Directory, clock: list[float]
) -> None:
    kept = await directory.find_tenant(TENANT)
    await directory.audit.record(
        audit_writer.create_entry("secrets/setSecret/action", "target", clock[0])
    )
    assert await directory.find_tenant(TENANT) is kept
    await directory.groups.put(group("web"))
    assert await directory.find_tenant(TENANT) is not kept
