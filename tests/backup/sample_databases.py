"""Databases with rows of every kind, and helpers to back up, restore and compare them."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from podpass.backup import create, restore
from podpass.backup.model import Manifest
from podpass.backup.tables import STORES, backed_up_tables
from podpass.clock import system
from podpass.crypto.secret import Secret
from podpass.database import Database
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    IdentityKind,
    KeyCredential,
    PasswordCredential,
    Tenant,
)
from podpass.directory.store import schema as tables
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.lab.services import add_backup_tables, create_directory
from podpass.lab.services.vault.model import ObjectAttributes, RecoveryPolicy, Vault
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
KEY = b"k" * 32
add_backup_tables()
NOTHING = ObjectAttributes(given=frozenset())


def ignore_progress(_table: str, _rows: int) -> None:
    """Ignore a progress report."""


async def fill(url: str, folder: Path, *, identities: int = 3) -> None:
    """Write rows into every store of a database."""
    async with Database(url) as database:
        async with create_directory(database) as directory:
            await directory.create_tenant(Tenant(id=TENANT, display_name="Cont\u00f6so \U0001f511"))
            for number in range(identities):
                await directory.identities.put(identity(number))
            await directory.store(Vaults).put(
                Vault(name="demo", tenant_id=TENANT, location="eastus", resource_id="/v/demo")
            )
        (folder / "vault.key").write_bytes(KEY)
        async with VaultStore(database, folder / "vault.key") as store:
            await store.set("demo", "Name", Secret("first"), NOTHING, 1.0)
            await store.set("demo", "Name", Secret("second"), NOTHING, 2.0)
            await store.set("demo", "gone", Secret("x"), NOTHING, 2.0)
            await store.delete("demo", "gone", 3.0, RecoveryPolicy())
        await AuthorityKeys.open(database, KEY, system)


def identity(number: int) -> Identity:
    """Return an application with every kind of credential."""
    client_id = f"11111111-aaaa-4bbb-8ccc-{number:012}"
    return Identity(
        tenant_id=TENANT,
        client_id=client_id,
        object_id=client_id.replace("1111", "2222"),
        application_id=client_id.replace("1111", "3333"),
        name=f"app {number} '\"\\ \u00fc",
        kind=IdentityKind.APPLICATION,
        enabled=bool(number % 2),
        tags={"a": "\u2028\r\n\x85"},
        credentials=(
            FederatedCredential(
                name="web", issuer="https://i/", subject=f"s{number}", audiences=("api://x",)
            ),
        ),
        passwords=(
            PasswordCredential(
                key_id="k", display_name="", hint="abc", digest=b"\x00\xff", begins=0.1, expires=2e9
            ),
        ),
        keys=(
            KeyCredential(
                key_id="k",
                display_name="",
                certificate=bytes(range(256)),
                thumbprint="t",
                begins=1.5,
                expires=2.5,
            ),
        ),
    )


async def fill_with_credentials(url: str, count: int) -> None:
    """Write `count` federated credentials into a directory, 20 for each identity."""
    of_identity = [
        {
            "tenant_id": TENANT,
            "client_id": f"client-{number:07}",
            "object_id": f"object-{number:07}",
            "name": f"many {number}",
            "kind": "application",
            "enabled": True,
        }
        for number in range(count // 20)
    ]

    def step(connection: Connection) -> None:
        connection.execute(insert(tables.identities), of_identity)
        for begin in range(0, count, 10_000):
            rows = [
                {
                    "tenant_id": TENANT,
                    "client_id": f"client-{number // 20:07}",
                    "name": f"credential-{number % 20}",
                    "issuer": "https://issuer.example/tenant/",
                    "subject": f"system:serviceaccount:namespace-{number}:account",
                    "audience": "api://AzureADTokenExchange",
                    "description": "",
                }
                for number in range(begin, min(count, begin + 10_000))
            ]
            connection.execute(insert(tables.federated_credentials), rows)

    async with Database(url) as database:
        await database.write(step, seconds=600)


async def read_all_rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Read every row that belongs in a backup, in the same order for both databases."""

    def step(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
        return {
            table.name: sorted(
                (
                    tuple(row[name] for name in sorted(map(str, row)))
                    for row in connection.execute(select(table)).mappings()
                ),
                key=repr,
            )
            for store in STORES
            for table in backed_up_tables(connection, store)
        }

    async with Database(url) as database:
        return await database.read(step, seconds=60)


async def back_up(url: str, path: Path) -> Manifest:
    return await create.back_up_database(url, path, ignore_progress, lambda: 1_700_000_000.0)


async def restore_backup(url: str, path: Path, *, replaces: bool = False) -> Manifest:
    return await restore.restore_database(url, path, ignore_progress, replaces=replaces)
