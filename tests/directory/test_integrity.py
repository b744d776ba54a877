"""A stored object that no write accepts is reported as a corrupt row, on both databases."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from podpass.database import CorruptRowError
from podpass.directory.model import FederatedCredential, Identity, IdentityKind
from podpass.directory.store.directory import Directory
from podpass.directory.store.integrity import validate_stored_identity
from podpass.lab.services.vault.model import Vault
from podpass.lab.services.vault.vaults import Vaults, check_stored
from tests.directory.conftest import TENANT

BELOW = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers"
CLIENT = "00000000-0000-4000-8000-000000000001"
CREDENTIAL = FederatedCredential(
    name="web", issuer="https://i.example", subject="s", audiences=("a",)
)
WEB = Identity(
    tenant_id=TENANT,
    client_id=CLIENT,
    object_id=CLIENT.replace("8000", "9000"),
    name="web",
    resource_id=f"{BELOW}/Microsoft.ManagedIdentity/userAssignedIdentities/web",
    credentials=(CREDENTIAL,),
)
APP = replace(WEB, kind=IdentityKind.APPLICATION, resource_id=None, identifier_uris=("api://web",))


async def change(directory: Directory, statement: str) -> None:
    made = text(f"UPDATE {statement}")
    await directory._session.write(lambda write: write.connection.execute(made))


async def read(directory: Directory) -> Identity:
    found = await directory.find_identity(TENANT, CLIENT)
    assert found is not None
    return found


@pytest.mark.parametrize("kept", [WEB, APP])
async def test_identity_that_was_written_is_valid(directory: Directory, kept: Identity) -> None:
    await directory.identities.put(kept)
    validate_stored_identity(await read(directory))


@pytest.mark.parametrize(
    ("kept", "statement", "row"),
    [
        (WEB, "identities SET name = 'w b'", f"{CLIENT} in table identities"),
        (WEB, "identities SET name = 'wxb'", f"{CLIENT} in table identities"),
        (WEB, "identities SET object_id = 'zz'", f"{CLIENT} in table identities"),
        (APP, "identities SET name = ''", f"{CLIENT} in table identities"),
        (
            WEB,
            "federated_credentials SET issuer = 'ftp://i'",
            f"{CLIENT}/web in table federated_credentials",
        ),
        (
            APP,
            "identifier_uris SET uri = 'web', uri_key = 'web'",
            f"{CLIENT}/web in table identifier_uris",
        ),
    ],
)
async def test_stored_identity_that_no_write_accepts_is_a_corrupt_row(
    directory: Directory, kept: Identity, statement: str, row: str
) -> None:
    await directory.identities.put(kept)
    await change(directory, statement)
    found = await read(directory)
    with pytest.raises(CorruptRowError, match=f"the row of {row} cannot be read"):
        validate_stored_identity(found)


@pytest.mark.parametrize(
    ("name", "change_of_it"),
    [
        ("demo-vaulx", "name = 'demo-vaulx'"),
        ("de mo", "name = 'de mo', resource_id = replace(resource_id, 'demo-vault', 'de mo')"),
    ],
)
async def test_stored_vault_that_no_write_accepts_is_a_corrupt_row(
    directory: Directory, name: str, change_of_it: str
) -> None:
    east: dict[str, Any] = {"tenant_id": TENANT, "location": "eastus"}
    here = f"{BELOW}/Microsoft.KeyVault/vaults/demo-vault"
    await directory.store(Vaults).put(Vault(name="demo-vault", resource_id=here, **east))
    found = await directory.store(Vaults).find_by_resource_id(here.upper())
    assert found is not None
    check_stored(found)
    await change(directory, f"vaults SET {change_of_it}")
    found = await directory.store(Vaults).find_by_resource_id(here)
    assert found is not None
    with pytest.raises(CorruptRowError, match=f"the row of {name} in table vaults cannot be read"):
        check_stored(found)
