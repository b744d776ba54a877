"""A damaged page of a SQLite file that keeps its form is still refused, by table and key."""

import sqlite3
from pathlib import Path

import pytest

from podpass.clock import system
from podpass.database import CorruptRowError, Database
from podpass.directory.model import Identity, IdentityKind, Tenant
from podpass.directory.store.directory import Directory

TENANT = "11111111-1111-1111-1111-111111111111"
IDENTITY = Identity(
    tenant_id=TENANT,
    client_id="22222222-2222-2222-2222-222222222222",
    object_id="33333333-3333-3333-3333-333333333333",
    name="shop-api",
    kind=IdentityKind.APPLICATION,
    application_id="44444444-4444-4444-4444-444444444444",
)


async def test_text_column_that_a_flipped_bit_made_a_blob_is_a_corrupt_row(tmp_path: Path) -> None:
    path = tmp_path / "directory.db"
    async with Database(f"sqlite:///{path}") as database, Directory(database, (), system) as one:
        await one.create_tenant(Tenant(id=TENANT, display_name="t", domains=()))
        await one.identities.put(IDENTITY)
    flip_type_of_object_id(path)
    async with Database(f"sqlite:///{path}") as database, Directory(database, (), system) as one:
        assert await one.identities.list(TENANT) == []
        with pytest.raises(CorruptRowError) as caught:
            await one.identities.get(TENANT, IDENTITY.client_id)
    assert f"the row of {IDENTITY.client_id} in table identities" in caught.value.message
    assert "object_id: want text, found a blob" in str(caught.value.facts["cause"])


def flip_type_of_object_id(path: Path) -> None:
    """Flip the lowest bit of the type of `object_id` in the header of the only row of `identities`."""
    checkpoint = sqlite3.connect(path)
    checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpoint.close()
    content = path.read_bytes()
    # The header of a row has 13 + 2 * length for each text: three GUIDs, then the name.
    header = bytes([13 + 2 * 36] * 3 + [13 + 2 * len(IDENTITY.name)])
    assert content.count(header) == 1
    path.write_bytes(content.replace(header, header[:2] + bytes([header[2] ^ 1]) + header[3:]))
