"""The object store: durability, revision checks and file permissions."""

import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.storage.storage import (
    AlreadyExists,
    ObjectStore,
    RevisionConflict,
    StoredObject,
    StoreError,
)
from tests.conftest import Live

MAPS, NAMESPACES = kind_by_name("ConfigMap"), kind_by_name("Namespace")


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "one"}, "data": data}


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[[], ObjectStore]]:
    """Open the store of this test; each call opens it again."""
    stores: list[ObjectStore] = []

    def open_it() -> ObjectStore:
        for store in stores:
            store.close()
        stores.append(ObjectStore(tmp_path / "kubernetes.db"))
        stores[-1].open()
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


def test_objects_and_revision_survive_a_restart(open_store: Callable[[], ObjectStore]) -> None:
    store = open_store()
    store.create(MAPS, config_map("a", k="1"))
    made = store.create(MAPS, config_map("b", k="2"))
    store.delete(MAPS, made, 2)
    store = open_store()
    assert store.revision == 3
    assert [entry.name for entry in store.list_stored(MAPS)] == ["a"]
    found = store.get(MAPS, "one", "a")
    assert found is not None
    assert found["data"] == {"k": "1"}
    assert store.create(MAPS, config_map("c"))["metadata"]["resourceVersion"] == "4"


def test_changes_of_one_transaction_are_stored_together_or_not_at_all(
    open_store: Callable[[], ObjectStore],
) -> None:
    store = open_store()
    with store.one_transaction():
        store.create(MAPS, config_map("a"))
        store.create(MAPS, config_map("b"))
    with contextlib.suppress(KeyError), store.one_transaction():
        store.create(MAPS, config_map("c"))
        raise KeyError
    store = open_store()
    assert store.revision == 2
    assert [entry.name for entry in store.list_stored(MAPS)] == ["a", "b"]


def test_write_against_an_older_revision_is_refused(open_store: Callable[[], ObjectStore]) -> None:
    """Fails without the revision check: concurrent writers would overwrite each other."""
    store = open_store()
    made = store.create(MAPS, config_map("a", k="1"))
    store.update(MAPS, made | {"data": {"k": "2"}}, 1)
    with pytest.raises(RevisionConflict):
        store.update(MAPS, made | {"data": {"k": "3"}}, 1)
    with pytest.raises(RevisionConflict):
        store.delete(MAPS, made, 1)
    found = store.get(MAPS, "one", "a")
    assert found is not None
    assert found["data"] == {"k": "2"}


def test_second_object_of_the_same_name_is_refused(open_store: Callable[[], ObjectStore]) -> None:
    store = open_store()
    store.create(MAPS, config_map("a"))
    with pytest.raises(AlreadyExists):
        store.create(MAPS, config_map("a"))
    assert store.revision == 1


def test_change_of_a_read_copy_does_not_change_the_store(
    open_store: Callable[[], ObjectStore],
) -> None:
    store = open_store()
    store.create(MAPS, config_map("a", k="1"))
    found = store.get(MAPS, "one", "a")
    assert found is not None
    found["data"]["k"] = "changed"
    assert store.get(MAPS, "one", "a") != found


def test_database_file_is_private_to_its_owner(
    open_store: Callable[[], ObjectStore], tmp_path: Path
) -> None:
    """Fails if the file is created with the default mode: it contains Secrets."""
    open_store().create(MAPS, config_map("a"))
    for path in tmp_path.glob("kubernetes.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_database_of_another_format_is_refused_and_unchanged(
    open_store: Callable[[], ObjectStore], tmp_path: Path
) -> None:
    open_store().close()
    path = tmp_path / "kubernetes.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreError) as refused:
        open_store()
    assert "format 99" in refused.value.message
    assert "another database file" in refused.value.hint
    assert path.read_bytes() == before
    assert path not in [each.resolve() for each in Path("/proc/self/fd").iterdir()]


def test_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kubernetes.db").write_bytes(b"not a database at all, but long enough" * 40)
    with pytest.raises(StoreError) as refused:
        ObjectStore(tmp_path / "kubernetes.db").open()
    assert refused.value.code == "cluster_store"
    assert "backup" in refused.value.hint


def test_failed_write_changes_nothing_in_memory(open_store: Callable[[], ObjectStore]) -> None:
    store = open_store()
    store.create(MAPS, config_map("a"))
    store.close()
    with pytest.raises(StoreError):
        store.create(MAPS, config_map("b"))
    assert store.revision == 1
    assert store.get(MAPS, "one", "b") is None


WRITER = """
    import sys
    from pathlib import Path
    from kubeling.apiserver.kinds import named
    from kubeling.apiserver.storage.storage import Store

    store = Store(Path(sys.argv[1]))
    store.open()
    number = 0
    while True:
        store.create(named("ConfigMap"), {"metadata": {"name": f"m{number}", "namespace": "one"}})
        print(number, flush=True)
        number += 1
"""


def test_kill_9_loses_no_acknowledged_write(
    open_store: Callable[[], ObjectStore], tmp_path: Path
) -> None:
    """Fails if a response is sent before the commit."""
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "kubernetes.db")],
        stdout=subprocess.PIPE,
        text=True,
    )
    with writer:
        assert writer.stdout is not None
        last = -1
        for line in writer.stdout:
            last = int(line)
            if last == 200:
                os.kill(writer.pid, signal.SIGKILL)
                break
        last = max([last, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    store = open_store()
    names = {entry.name for entry in store.list_stored(MAPS)}
    assert names >= {f"m{number}" for number in range(last + 1)}
    assert store.revision == len(names)


def test_corrupt_row_is_named_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "kubernetes.db"
    store = ObjectStore(path)
    store.open()
    store.create(kind_by_name("ConfigMap"), {"metadata": {"name": "web", "namespace": "default"}})
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE objects SET value = '{broken'")
    with pytest.raises(StoreError) as refused:
        ObjectStore(path).open()
    assert "configmaps default/web" in refused.value.message
    assert "restore" in refused.value.hint


def keep_nothing(_resource: str, _stored: StoredObject) -> bool:
    return False


def contents(store: ObjectStore) -> dict[str, Any]:
    return {each.name: each.object()["data"] for each in store.list_stored(MAPS)}


def test_restored_objects_survive_a_restart_and_watchers_see_each_change(
    open_store: Callable[[], ObjectStore],
) -> None:
    store = open_store()
    for name in ("changed", "deleted", "same"):
        store.create(MAPS, config_map(name, value="before"))
    wanted, before = store.snapshot(), contents(store)
    store.update(MAPS, config_map("changed", value="after"), 1)
    store.delete(MAPS, config_map("deleted"), 2)
    store.create(MAPS, config_map("created"))
    revision = store.revision
    store.restore(wanted, keep_nothing)
    assert contents(store) == before
    events = store.watch_cache.events_since(revision, MAPS.resource)
    assert [(each.type, each.name, each.revision) for each in events] == [
        ("MODIFIED", "changed", revision + 1),
        ("DELETED", "created", revision + 2),
        ("ADDED", "deleted", revision + 3),
    ]
    store.close()
    again = open_store()
    assert (contents(again), again.revision) == (before, revision + 3)


def test_restore_does_not_delete_objects_that_the_caller_keeps(
    open_store: Callable[[], ObjectStore],
) -> None:
    store = open_store()
    wanted = store.snapshot()
    store.create(MAPS, config_map("kept"))
    store.restore(wanted, lambda _resource, stored: stored.name == "kept")
    assert list(contents(store)) == ["kept"]


@pytest.mark.parametrize("link", ["owner", "event", "namespace"])
def test_late_write_for_an_object_that_restore_removed_is_refused(
    open_store: Callable[[], ObjectStore], link: str
) -> None:
    store = open_store()
    store.create(NAMESPACES, {"metadata": {"name": "one", "uid": "n1"}})
    wanted = store.snapshot()
    store.create(NAMESPACES, {"metadata": {"name": "gone", "uid": "n2"}})
    owner = config_map("owner")
    owner["metadata"]["uid"] = "u1"
    store.create(MAPS, owner)
    store.restore(wanted, keep_nothing)
    late = config_map("late")
    if link == "owner":
        late["metadata"]["ownerReferences"] = [{"uid": "u1"}]
    elif link == "event":
        late["involvedObject"] = {"uid": "u1"}
    else:
        late["metadata"]["namespace"] = "gone"
    with pytest.raises(RevisionConflict):
        store.create(MAPS, late)
    store.create(MAPS, config_map("later"))


async def test_server_that_cannot_write_is_alive_and_not_ready(live: Live) -> None:
    """Fails if a server with a full disk reports that it is ready; a lock of the database is as bad."""

    async def statuses() -> list[int]:
        paths = ("/livez", "/readyz/ping", "/readyz", "/readyz/etcd")
        return [(await live.call("GET", path)).status for path in paths]

    assert await statuses() == [200] * 4
    with contextlib.closing(sqlite3.connect(live.folder / "kubernetes.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await statuses() == [200, 200, 500, 500]
        assert "[-]etcd failed" in (await live.call("GET", "/readyz")).text
    assert await statuses() == [200] * 4


@pytest.mark.parametrize("damage", ["overwritten", "removed", "replaced"])
async def test_server_whose_file_was_damaged_is_alive_and_not_ready(
    live: Live, damage: str
) -> None:
    """Fails if objects in memory hide a damaged file: the next start would lose every later write."""
    path = live.folder / "kubernetes.db"
    if damage == "removed":
        path.unlink()
    elif damage == "replaced":
        path.with_name("copy").write_bytes(path.read_bytes())
        path.with_name("copy").replace(path)
    else:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)  # the damage is not in the page that the check writes
            file.write(os.urandom(path.stat().st_size - 4096))
    assert (await live.call("GET", "/livez")).status == 200
    assert "[-]etcd failed" in (await live.call("GET", "/readyz")).text
