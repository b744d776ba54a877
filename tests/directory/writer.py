"""Write to a directory without end and say each change once it is made; the durability test kills it.

Run: python writer.py DATABASE FIRST
"""

import asyncio
import sys
import uuid

from podpass.directory import arm
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    ResourceGroup,
    RoleAssignment,
    Tenant,
    Vault,
)
from podpass.directory.store import Directory

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
MEMBERS = 5


def members(group: str) -> list[Identity]:
    """Make the identities of a group."""
    credentials = tuple(
        FederatedCredential(
            name=f"name-{number}", issuer="https://x/", subject=f"s{number}", audiences=("a",)
        )
        for number in range(3)
    )
    return [
        Identity(
            tenant_id=TENANT,
            client_id=str(uuid.uuid4()),
            object_id=str(uuid.uuid4()),
            name=f"id-{number}",
            resource_id=arm.identity_id(SUB, group, f"id-{number}"),
            credentials=credentials,
        )
        for number in range(MEMBERS)
    ]


async def fill(directory: Directory, group: str) -> None:
    """Make a group with identities, a vault and roles."""
    await directory.groups.put(ResourceGroup(subscription_id=SUB, name=group, location="eastus"))
    made = members(group)
    await directory.identities.put_many(made)
    vault_id = arm.vault_id(SUB, group, group)
    await directory.vaults.put(
        Vault(name=group, tenant_id=TENANT, location="eastus", resource_id=vault_id)
    )
    for scope in (vault_id, f"/subscriptions/{SUB}"):
        given = RoleAssignment(scope=scope, principal_id=made[0].object_id, role="Reader")
        await directory.assign_role(given)


async def main(path: str, first: int) -> None:
    async with Directory(f"sqlite:///{path}") as directory:
        await directory.create_tenant(Tenant(id=TENANT))
        for number in range(first, first + 100_000):
            group = f"group-{number}"
            await fill(directory, group)
            print(f"made {group}", flush=True)
            if number % 2:
                print(f"deleting {group}", flush=True)
                await directory.groups.delete(SUB, group)
                print(f"deleted {group}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
