"""The store: order of versions, sealed values, durable writes."""

import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import SQLAlchemyError

from podpass.crypto.envelope import InvalidSealingKey
from podpass.crypto.secret import Secret
from podpass.database import CorruptRowError, Database, DatabaseFailed
from podpass.directory.store import schema as directory
from podpass.lab.services.vault.errors import (
    BackupTooLarge,
    InvalidBackup,
    NameInUse,
    NameTaken,
    OutdatedState,
)
from podpass.lab.services.vault.model import (
    AuditContext,
    MissingObject,
    ObjectAttributes,
    ObjectState,
    RecoveryPolicy,
)
from podpass.lab.services.vault.schema import versions
from podpass.lab.services.vault.store import VaultStore
from tests.directory.database_faults import corrupt

NOTHING = ObjectAttributes(given=frozenset())
USUAL = RecoveryPolicy()

WRITER = """
import asyncio, sys, time
from pathlib import Path
from podpass.database import Database
from podpass.lab.services.vault.model import ObjectAttributes
from podpass.lab.services.vault.store import VaultStore
from podpass.crypto.secret import Secret

async def main(folder):
    store = VaultStore(Database(f"sqlite:///{folder}/vault.db"), Path(folder) / "vault.key")
    await store.open()
    number = 0
    while True:
        wanted = ObjectAttributes(given=frozenset())
        made = await store.set("demo-vault", f"s-{number % 7}", Secret(str(number)), wanted, 1.0)
        print(f"s-{number % 7}", made.version, number, flush=True)
        number += 1

asyncio.run(main(sys.argv[1]))
"""


def create_store(folder: Path) -> VaultStore:
    return VaultStore(Database(f"sqlite:///{folder}/vault.db"), folder / "vault.key")


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    """A database without the tables of the directory: one test shows what happens without them."""
    return empty_database_url


@pytest.fixture
async def store(database_url: str, tmp_path: Path) -> AsyncIterator[VaultStore]:
    async with VaultStore(Database(database_url), tmp_path / "vault.key") as store:
        yield store


async def test_latest_version_is_the_last_written_even_if_the_clock_goes_back(
    store: VaultStore,
) -> None:
    await store.set("demo-vault", "a", Secret("first"), NOTHING, 2000.0)
    last = await store.set("demo-vault", "a", Secret("second"), NOTHING, 1000.0)
    found = await store.get("demo-vault", "a")
    assert found is not None
    assert (found.value.reveal(), found.version) == ("second", last.version)


async def test_vaults_have_separate_secrets(store: VaultStore) -> None:
    await store.set("demo-vault", "a", Secret("x"), NOTHING, 1.0)
    assert await store.get("other-vault", "a") is None
    assert await store.page("other-vault", after="", limit=9) == []


async def test_names_are_case_insensitive(store: VaultStore) -> None:
    await store.set("demo-vault", "Name", Secret("x"), NOTHING, 1.0)
    await store.set("demo-vault", "nAME", Secret("y"), NOTHING, 1.0)
    assert [each.name for each in await store.page("demo-vault", after="", limit=9)] == ["Name"]


async def test_deleted_secret_blocks_its_name_until_it_is_purged(store: VaultStore) -> None:
    await store.set("demo-vault", "a", Secret("x"), NOTHING, 1.0)
    gone = await store.delete("demo-vault", "a", 100.0, USUAL)
    assert gone is not None
    assert (gone.deleted, gone.purge_on) == (100, 100 + 90 * 86400)
    assert await store.delete("demo-vault", "a", 101.0, USUAL) is None
    assert await store.get("demo-vault", "a") is None
    with pytest.raises(NameTaken):
        await store.set("demo-vault", "a", Secret("y"), NOTHING, 2.0)
    assert await store.purge("demo-vault", "a")
    assert not await store.purge("demo-vault", "a")
    await store.set("demo-vault", "a", Secret("y"), NOTHING, 2.0)
    assert len(await store.page_versions("demo-vault", "a", after=0, limit=9)) == 1


async def test_live_secret_cannot_be_purged_or_recovered(store: VaultStore) -> None:
    await store.set("demo-vault", "a", Secret("x"), NOTHING, 1.0)
    assert not await store.purge("demo-vault", "a")
    assert await store.recover("demo-vault", "a") is None
    assert await store.get("demo-vault", "a") is not None


async def test_update_changes_only_given_attributes(store: VaultStore) -> None:
    whole = ObjectAttributes(
        given=frozenset({"content_type", "tags"}), content_type="text/plain", tags={"a": "b"}
    )
    made = await store.set("demo-vault", "a", Secret("x"), whole, 1.0)
    off = ObjectAttributes(given=frozenset({"enabled"}), enabled=False)
    changed = await store.update("demo-vault", "a", made.version, off, 5.0)
    assert changed is not None
    assert (changed.enabled, changed.content_type, changed.tags) == (
        False,
        "text/plain",
        {"a": "b"},
    )
    assert (changed.created, changed.updated) == (1, 5)


async def test_missing_or_deleted_secret_is_not_updated(store: VaultStore) -> None:
    assert await store.update("demo-vault", "a", "", NOTHING, 1.0) is None
    await store.set("demo-vault", "a", Secret("x"), NOTHING, 1.0)
    await store.delete("demo-vault", "a", 1.0, USUAL)
    assert await store.update("demo-vault", "a", "", NOTHING, 1.0) is None


async def test_files_are_private_and_contain_no_plain_value(tmp_path: Path) -> None:
    async with create_store(tmp_path) as store:
        await store.set("demo-vault", "a", Secret("a-value-to-look-for"), NOTHING, 1.0)
        files = list(tmp_path.iterdir())
        assert len(files) >= 2
        for file in files:
            assert b"a-value-to-look-for" not in file.read_bytes()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_value_moved_to_another_name_is_not_unsealed(tmp_path: Path) -> None:
    async with create_store(tmp_path) as store:
        await store.set("demo-vault", "mine", Secret("x"), NOTHING, 1.0)
        await store.set("demo-vault", "theirs", Secret("y"), NOTHING, 1.0)
    with sqlite3.connect(tmp_path / "vault.db") as database:
        database.execute(
            "update secret_versions set sealed ="
            " (select sealed from secret_versions where key = 'theirs') where key = 'mine'"
        )
    database.close()
    async with create_store(tmp_path) as store:
        with pytest.raises(CorruptRowError, match="demo-vault/mine/"):
            await store.get("demo-vault", "mine")


async def test_change_of_an_outdated_state_is_refused(store: VaultStore) -> None:
    """Otherwise one of two requests at the same time would lose what the other one has written."""
    first = ObjectState(collection="one/keys", name="www", settings={"number": 1})
    second = replace(first, settings={"number": 2})
    missing = MissingObject(collection=first.collection, name=first.name)
    await store.put_states([first], expected=missing)
    await store.put_states([second], expected=first)
    for outdated in (missing, first):
        with pytest.raises(OutdatedState):
            await store.put_states([first], expected=outdated)
    assert await store.find(first.collection, first.name) == second


async def test_sealed_value_of_settings_opens_for_its_object_only(store: VaultStore) -> None:
    """An attack: the private key of an operation is copied to another certificate, or to an issuer."""
    mine = ObjectState(collection="one/certificates", name="Mine")
    sealed = store.seal_text(Secret("x"), mine)
    assert store.open_text(sealed, replace(mine, name="mINE")).reveal() == "x"
    for other in (replace(mine, name="theirs"), replace(mine, collection="two/certificates")):
        with pytest.raises(InvalidSealingKey):
            store.open_text(sealed, other)


async def test_wrong_sealing_key_is_refused_and_unchanged(tmp_path: Path) -> None:
    """Otherwise old and new values would be sealed with different keys."""
    async with create_store(tmp_path) as store:
        await store.set("demo-vault", "a", Secret("x"), NOTHING, 1.0)
        await store.set("demo-vault", "b", Secret("y"), NOTHING, 1.0)
    key = tmp_path / "vault.key"
    kept = key.read_bytes()
    key.write_bytes(b"k" * 32)
    with pytest.raises(InvalidSealingKey, match=r"vault\.key does not open") as caught:
        await create_store(tmp_path).open()
    assert "put the instance's own key file back" in caught.value.hint
    key.write_bytes(kept)
    # One corrupt value does not prove a wrong key: the newest may be corrupt.
    corrupt(tmp_path / "vault.db", "UPDATE secret_versions SET sealed = x'00' WHERE key = 'b'")
    async with create_store(tmp_path) as store:
        found = await store.get("demo-vault", "a")
        assert found is not None
        assert found.value.matches("x")


@pytest.mark.parametrize("content", [None, b"short"])
async def test_missing_or_damaged_key_is_an_error_and_not_replaced(
    tmp_path: Path, content: bytes | None
) -> None:
    async with create_store(tmp_path) as store:
        await store.set("demo-vault", "a", Secret("x"), NOTHING, 1.0)
    key = tmp_path / "vault.key"
    if content is None:
        key.unlink()
    else:
        key.write_bytes(content)
    with pytest.raises(InvalidSealingKey) as caught:
        await create_store(tmp_path).open()
    assert str(caught.value.facts["file"]).endswith("vault.key")
    assert not key.exists() or key.read_bytes() == content


def write_and_kill(folder: Path) -> list[str]:
    """Start a process that writes secrets, kill it, and return its complete output lines."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(25)]
        writer.kill()
        # Lines that it wrote before it was killed count too.
        lines += writer.stdout.read().splitlines(keepends=True)
    return [line for line in lines if line.endswith("\n")]


@pytest.mark.processes
async def test_acknowledged_writes_survive_sigkill(tmp_path: Path) -> None:
    acknowledged = {}
    for _ in range(2):
        for line in write_and_kill(tmp_path):
            name, version, value = line.split()
            acknowledged[version] = (name, value)
    async with create_store(tmp_path) as store:
        for version, (name, value) in acknowledged.items():
            found = await store.get("demo-vault", name, version)
            assert found is not None
            assert found.value.reveal() == value
    assert len(acknowledged) >= 50


async def test_secrets_are_counted_by_vault_without_versions_and_deleted_ones(
    store: VaultStore,
) -> None:
    for vault, name in (("one", "a"), ("one", "a"), ("one", "b"), ("one", "c"), ("two", "a")):
        await store.set(vault, name, Secret("x"), NOTHING, 1000.0)
    await store.delete("one", "c", 2000.0, USUAL)
    await store.delete("two", "a", 2000.0, USUAL)
    assert await store.counts() == {"one": 2}


async def test_expired_secret_is_purged_at_the_exact_second(store: VaultStore) -> None:
    await store.set("demo-vault", "a", Secret("x"), NOTHING, 1.0)
    await store.set("demo-vault", "b", Secret("x"), NOTHING, 1.0)
    gone = await store.delete("demo-vault", "a", 100.0, RecoveryPolicy(days=7))
    assert gone is not None
    assert gone.purge_on == 100 + 7 * 86400
    assert await store.purge_expired(gone.purge_on - 1) == 0
    assert await store.get_deleted("demo-vault", "a") is not None
    assert await store.purge_expired(gone.purge_on) == 1
    assert await store.get_deleted("demo-vault", "a") is None
    assert await store.get("demo-vault", "b") is not None


async def test_clearing_a_vault_leaves_the_others(store: VaultStore) -> None:
    for vault in ("one", "two"):
        await store.set(vault, "a", Secret("x"), NOTHING, 1.0)
    await store.delete("one", "a", 1.0, USUAL)
    assert await store.vaults() == {"one", "two"}
    assert await store.clear({"one"}) == 1
    assert await store.vaults() == {"two"}


# -------------------------------------------------------------------------------------------- audit


async def test_change_is_rolled_back_if_audit_entry_fails(
    store: VaultStore, database_url: str
) -> None:
    audit = AuditContext(action="set", base="https://demo", now=1.0)
    async with Database(database_url) as database:
        # Without the audit table, the change is rolled back.
        with pytest.raises((DatabaseFailed, SQLAlchemyError)):
            await store.set("one", "a", Secret("x"), NOTHING, 1.0, audit)
        assert await store.get("one", "a") is None
        await database.prepare(directory.metadata, directory.CHAIN)
        made = await store.set("one", "a", Secret("x"), NOTHING, 1.0, audit)
        await store.delete("one", "a", 1.0, USUAL)
        assert await store.purge("one", "a", audit)
        # A purge without effect has no audit entry.
        assert not await store.purge("one", "a", audit)
        assert await store.recover("one", "a", audit) is None
        query = select(directory.audit_entries.c.target).order_by(directory.audit_entries.c.serial)
        assert await database.read(lambda one: one.scalars(query).all()) == [
            f"https://demo/secrets/a/{made.version}",
            "https://demo/deletedsecrets/a",
        ]


# ------------------------------------------------------------------------------------------ backups


async def test_backup_restores_all_versions_with_attributes(
    store: VaultStore,
) -> None:
    described = ObjectAttributes(
        given=frozenset(), content_type="text/plain", tags={"a": "b"}, enabled=False, expires=99
    )
    old = await store.set("one", "Name", Secret("first"), described, 1.0)
    new = await store.set("one", "Name", Secret("z\u00e9 \n"), NOTHING, 2.0)
    blob = await store.backup("one", "name", "me")
    assert blob is not None
    latest = await store.restore("two", blob, "me")
    assert (latest.version, latest.value.reveal()) == (new.version, "z\u00e9 \n")
    first = await store.get("two", "name", old.version)
    assert first is not None
    assert (first.name, first.value.reveal(), first.created) == ("Name", "first", 1)
    assert (first.content_type, first.tags, first.enabled, first.expires) == (
        "text/plain",
        {"a": "b"},
        False,
        99,
    )


async def test_backup_is_opaque_and_restorable_by_owner_only(store: VaultStore) -> None:
    await store.set("one", "Name", Secret("a-value-to-look-for"), NOTHING, 1.0)
    blob = await store.backup("one", "Name", "tenant\nsubscription")
    assert blob is not None
    assert b"a-value-to-look-for" not in blob
    assert b"Name" not in blob
    for owner in ("tenant\nother", "other\nsubscription", "", "tenant"):
        with pytest.raises(InvalidBackup):
            await store.restore("two", blob, owner)
    assert await store.vaults() == {"one"}


async def test_changed_or_foreign_backup_is_refused(store: VaultStore, tmp_path: Path) -> None:
    """Attack group 31: forged blobs."""
    await store.set("one", "a", Secret("x"), NOTHING, 1.0)
    blob = await store.backup("one", "a", "me")
    assert blob is not None
    (tmp_path / "far").mkdir()
    async with create_store(tmp_path / "far") as other:
        await other.set("one", "a", Secret("x"), NOTHING, 1.0)
        foreign = await other.backup("one", "a", "me")
    assert foreign is not None
    flipped = [blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :] for place in (0, 20, -1)]
    for forged in (*flipped, foreign, b"", b"x" * 12, b"[]", blob[:-1], blob + b"x"):
        with pytest.raises(InvalidBackup):
            await store.restore("two", forged, "me")


async def test_sealed_value_is_not_accepted_as_backup(store: VaultStore, database_url: str) -> None:
    await store.set("one", "a", Secret('[{"name":"b","value":"x"}]'), NOTHING, 1.0)
    async with Database(database_url) as database:
        query = select(versions.c.sealed)
        sealed = await database.read(lambda one: one.execute(query).scalar_one())
    for owner in ("", "me", "one/a"):
        with pytest.raises(InvalidBackup):
            await store.restore("two", sealed, owner)


async def test_restore_never_replaces_a_secret(store: VaultStore) -> None:
    await store.set("one", "a", Secret("x"), NOTHING, 1.0)
    blob = await store.backup("one", "a", "me")
    assert blob is not None
    with pytest.raises(NameInUse):
        await store.restore("one", blob, "me")
    await store.delete("one", "a", 1.0, USUAL)
    with pytest.raises(NameTaken):
        await store.restore("one", blob, "me")
    assert await store.backup("one", "a", "me") is None
    await store.purge("one", "a")
    assert (await store.restore("one", blob, "me")).value.reveal() == "x"


async def test_backup_is_limited_to_500_versions(store: VaultStore) -> None:
    for number in range(500):
        await store.set("one", "a", Secret(str(number)), NOTHING, 1.0)
    blob = await store.backup("one", "a", "me")
    assert blob is not None
    await store.restore("two", blob, "me")
    assert len(await store.page_versions("two", "a", after=0, limit=999)) == 500
    await store.set("one", "a", Secret("one more"), NOTHING, 1.0)
    with pytest.raises(BackupTooLarge):
        await store.backup("one", "a", "me")


async def test_restore_sends_as_many_statements_for_many_versions_as_for_two(
    store: VaultStore,
) -> None:
    """A round trip for each version would take longer than a request may, on a distant database."""
    sent: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    numbers = []
    try:
        for count in (2, 20):
            name = f"with-{count}"
            for number in range(count):
                await store.set("one", name, Secret(str(number)), NOTHING, 1.0)
            blob = await store.backup("one", name, "me")
            assert blob is not None
            sent.clear()
            await store.restore("two", blob, "me")
            numbers.append(len(sent))
            restored = await store.page_versions("two", name, after=0, limit=99)
            assert [each.version for each in restored] == [
                each.version for each in await store.page_versions("one", name, after=0, limit=99)
            ]
    finally:
        event.remove(Engine, "before_cursor_execute", record)
    assert numbers[0] == numbers[1]


async def test_backup_is_limited_in_bytes(
    store: VaultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.set("one", "a", Secret("\u00e9" * 100), NOTHING, 1.0)
    monkeypatch.setattr("podpass.lab.services.vault.backups.MAX_BYTES", 250)
    with pytest.raises(BackupTooLarge):
        await store.backup("one", "a", "me")
