"""Storage accounts of a seed file: stored once, with roles on the account and below it."""

import pytest

from podpass.errors import UsageError
from podpass.lab.services.storage.accounts import find_account
from tests.seed.test_seed import SUBSCRIPTION, World, world

__all__ = ["world"]

SEED = """identities:
- {name: web}
storage_accounts:
- name: orders
  location: westeurope
  access:
  - {identity: web, role: storage blob data reader}
  - {identity: web, role: Storage Blob Data Contributor, container: invoices}
  - {identity: web, role: Storage Queue Data Contributor, queue: jobs}
  - {identity: web, role: Storage Table Data Reader, table: People}
"""
ACCOUNT = (
    f"/subscriptions/{SUBSCRIPTION}/resourcegroups/podpass/providers/microsoft.storage"
    "/storageaccounts/orders"
)


async def test_accounts_of_a_seed_are_stored_once_with_their_roles(world: World) -> None:
    assert await world.apply(SEED) == [
        "identity web created",
        "storage account orders created",
        "role Storage Blob Data Reader on orders for web created",
        "role Storage Blob Data Contributor on orders/invoices for web created",
        "role Storage Queue Data Contributor on orders/jobs for web created",
        "role Storage Table Data Reader on orders/People for web created",
    ]
    assert await world.apply(SEED) == []
    stored = await find_account(world.directory, "ORDERS")
    assert stored is not None
    assert (stored.resource_id.lower(), stored.location) == (ACCOUNT, "westeurope")
    scopes = {one.scope for one in await world.directory.assignments.list()}
    assert scopes == {
        ACCOUNT,
        f"{ACCOUNT}/blobservices/default/containers/invoices",
        f"{ACCOUNT}/queueservices/default/queues/jobs",
        f"{ACCOUNT}/tableservices/default/tables/people",
    }


ACCESS = "storage_accounts:\n- name: orders\n  access:\n  - "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("storage_accounts:\n- {name: or}\n", "want 3 to 24 lower-case letters and digits"),
        ("storage_accounts:\n- {name: Orders}\n", "want 3 to 24 lower-case letters and digits"),
        ("storage_accounts:\n- {name: orders, keys: []}\n", "keys"),
        ("storage_accounts:\n- {name: orders}\n- {name: orders}\n", "already in line 2"),
        (f"{ACCESS}{{identity: web, role: Blob Reader}}\n", "role 'Blob Reader' does not exist"),
        (
            f"{ACCESS}{{identity: missing, role: Storage Blob Data Reader}}\n",
            "no identity 'missing'",
        ),
        (
            f"{ACCESS}{{identity: web, role: Storage Blob Data Reader, container: a, queue: b}}\n",
            "want one of container, queue, table",
        ),
        (
            f"{ACCESS}{{identity: web, role: Storage Blob Data Reader, container: ../x}}\n",
            "container '../x'",
        ),
    ],
    ids=["short", "case", "key", "twice", "role", "identity", "parts", "container"],
)
async def test_invalid_account_is_refused_with_its_line(
    world: World, text: str, problem: str
) -> None:
    with pytest.raises(UsageError) as refused:
        await world.apply(text)
    assert problem in refused.value.message
    assert await world.directory.other_resources.page(SUBSCRIPTION) == []


async def test_account_of_another_group_or_location_is_refused(world: World) -> None:
    await world.apply(SEED)
    with pytest.raises(UsageError, match="storage account orders: is in westeurope"):
        await world.apply(SEED.replace("westeurope", "eastus"))
