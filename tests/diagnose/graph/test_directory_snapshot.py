"""The facts that are read from the directory of this process."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from podpass.database import Database
from podpass.diagnose.graph.directory_snapshot import read_directory
from podpass.directory import resource_ids
from podpass.directory.model import OtherResource, ResourceGroup, RoleAssignment, Tenant
from podpass.directory.store.directory import Directory
from podpass.lab.services import create_directory
from tests.diagnose.graph.samples import GROUP, SUBSCRIPTION, TENANT, assignment, identity

STORAGE = "Microsoft.Storage/storageAccounts"


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    async with create_directory(Database(f"sqlite:///{tmp_path / 'd.db'}")) as opened:
        await opened.create_tenant(Tenant(id=TENANT))
        yield opened


async def test_identities_roles_and_resources_are_read(directory: Directory) -> None:
    await directory.identities.put(identity())
    await directory.assign_role(assignment("Owner", GROUP))
    # A role that no longer exists grants nothing.
    gone = "44444444-4444-4444-8444-444444444444"
    missing = RoleAssignment(scope="/", principal_id=identity().object_id, role=gone)
    await directory.assignments.put(missing)
    group = ResourceGroup(subscription_id=SUBSCRIPTION, name="g", location="here")
    await directory.groups.put(group)
    resource_id = f"{GROUP}/providers/{STORAGE}/files"
    stored = OtherResource(resource_id=resource_id, type=STORAGE, name="files", location="here")
    await directory.other_resources.put(stored)
    found = await read_directory(
        directory, TENANT, subscription_id=SUBSCRIPTION, origins=("https://localhost:1",)
    )
    assert [each.name for each in found.identities] == ["web"]
    assert [role.name for role in found.roles] == ["Owner"]
    assert {each.id for each in found.resources} == {
        resource_id,
        resource_ids.identity_id(SUBSCRIPTION, "g", "web"),
    }
    assert found.issuers == (
        f"https://login.microsoftonline.com/{TENANT}/v2.0",
        f"https://localhost:1/{TENANT}/v2.0",
    )


async def test_identities_of_another_tenant_are_left_out(directory: Directory) -> None:
    other = TENANT.replace("1", "2")
    await directory.create_tenant(Tenant(id=other))
    await directory.identities.put(replace(identity(), tenant_id=other))
    assert (await read_directory(directory, TENANT)).identities == ()


async def test_corrupt_row_is_named_because_the_graph_lacks_it(
    directory: Directory, tmp_path: Path
) -> None:
    await directory.identities.put(identity())
    with closing(sqlite3.connect(tmp_path / "d.db", isolation_level=None)) as file:
        file.execute("UPDATE identities SET document = '{'")
    directory.clear_caches()
    found = await read_directory(directory, TENANT)
    assert found.identities == ()
    assert len(found.unread) == 1
    assert "identities cannot be read" in found.unread[0]
