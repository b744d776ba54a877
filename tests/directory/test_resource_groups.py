"""Resource groups: deleting a group deletes its content and nothing else."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from podpass.directory import errors, resource_ids
from podpass.directory.model import Identity, RoleAssignment, WriteResult
from podpass.directory.store.directory import Directory
from podpass.lab.services.clusters.store import Clusters
from podpass.lab.services.vault.model import vault_id
from podpass.lab.services.vault.vaults import Vaults
from tests.directory.sample_resources import SUB, TENANT, cluster, group, vault

MakeIdentity = Callable[..., Identity]


async def test_group_is_found_without_case_and_keeps_its_spelling(directory: Directory) -> None:
    assert await directory.groups.put(group()) is WriteResult.CREATED
    assert await directory.groups.put(group("WEB")) is WriteResult.UNCHANGED
    assert await directory.groups.put(group("web", tags={"a": "b"})) is WriteResult.UPDATED
    found = await directory.groups.get(SUB.upper(), "wEb")
    assert found is not None
    assert (found.name, found.tags) == ("Web", {"a": "b"})
    with pytest.raises(errors.Conflict, match="the group is in eastus; its location cannot change"):
        await directory.groups.put(group(location="westus"))


@pytest.mark.parametrize("name", ["", "a.", "a/b", "a b", "x" * 91, "a*"])
async def test_group_name_follows_the_rules_of_azure(directory: Directory, name: str) -> None:
    with pytest.raises(errors.InvalidValue):
        await directory.groups.put(group(name))


async def test_groups_are_listed_in_pages(directory: Directory) -> None:
    for name in ("c", "A", "b"):
        await directory.groups.put(group(name))
    await directory.groups.put(group("z", subscription_id=TENANT))
    first = await directory.groups.page(SUB, limit=2)
    assert [one.name for one in first] == ["A", "b"]
    rest = await directory.groups.page(SUB, after="B", limit=2)
    assert [one.name for one in rest] == ["c"]


async def test_deleting_a_group_deletes_its_content_and_nothing_else(
    directory: Directory, make_identity: MakeIdentity
) -> None:
    """`web` is a prefix of `web2`."""
    scopes = []
    for name in ("web", "web2"):
        await directory.groups.put(group(name))
        scope = resource_ids.group_id(SUB, name)
        mine = make_identity(
            f"{name}-id", resource_id=resource_ids.identity_id(SUB, name.upper(), "mine")
        )
        await directory.identities.put(mine)
        await directory.store(Vaults).put(vault(f"{name}-vault", name))
        await directory.store(Clusters).put(cluster("aks", name))
        for place in (scope, vault_id(SUB, name, f"{name}-vault") + "/secrets/x"):
            await directory.assign_role(
                RoleAssignment(scope=place, principal_id="p", role="Reader")
            )
        held = RoleAssignment(
            scope=f"/subscriptions/{SUB}", principal_id=mine.object_id, role="Reader"
        )
        await directory.assign_role(held)
        scopes.append(scope)
    assert await directory.groups.delete(SUB, "WEB")
    assert not await directory.groups.delete(SUB, "web")
    assert [one.name for one in await directory.list_identities(TENANT)] == ["web2-id"]
    assert [one.name for one in await directory.store(Vaults).list()] == ["web2-vault"]
    assert [one.vault.name for one in await directory.store(Vaults).deleted(SUB)] == ["web-vault"]
    assert [one.group for one in await directory.store(Clusters).page(SUB)] == ["web2"]
    left = await directory.assignments.list()
    assert len(left) == 3
    assert not [one for one in left if resource_ids.covers(scopes[0], one.scope)]


async def test_clusters_are_stored_by_resource_id(directory: Directory) -> None:
    one = cluster("aks", "web")
    assert await directory.store(Clusters).put(one) is WriteResult.CREATED
    changed = await directory.store(Clusters).change(
        SUB, "WEB", "AKS", lambda old: replace(old, tags={"a": "b"})
    )
    assert changed.tags == {"a": "b"}
    assert await directory.store(Clusters).put(changed) is WriteResult.UNCHANGED
    assert await directory.store(Clusters).get(SUB, "web", "aks") == changed
    with pytest.raises(errors.Conflict, match="the location of a cluster cannot change"):
        await directory.store(Clusters).put(replace(one, location="westus"))
    with pytest.raises(errors.InvalidValue):
        await directory.store(Clusters).put(cluster("-x", "web"))
    with pytest.raises(errors.NotFound):
        await directory.store(Clusters).change(SUB, "web", "other", lambda old: old)
    assert await directory.store(Clusters).delete(SUB, "web", "aks")
    assert not await directory.store(Clusters).delete(SUB, "web", "aks")
