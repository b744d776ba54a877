"""Objects survive what the process does not, and nobody overwrites what they have not seen."""

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

from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.storage.storage import Moved, Store, StoreError, Taken

MAPS = named("ConfigMap")


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "one"}, "data": data}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Open the store of this test, once more each time."""
    stores: list[Store] = []

    def open_it() -> Store:
        for store in stores:
            store.close()
        stores.append(Store(tmp_path / "kubernetes.db"))
        stores[-1].open()
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


def test_objects_and_revision_are_as_they_were_after_a_restart(opened: Callable[[], Store]) -> None:
    store = opened()
    store.create(MAPS, config_map("a", k="1"))
    made = store.create(MAPS, config_map("b", k="2"))
    store.delete(MAPS, made, 2)
    store = opened()
    assert store.revision == 3
    assert [entry.name for entry in store.entries(MAPS)] == ["a"]
    found = store.get(MAPS, "one", "a")
    assert found is not None
    assert found["data"] == {"k": "1"}
    assert store.create(MAPS, config_map("c"))["metadata"]["resourceVersion"] == "4"


def test_a_write_against_an_older_revision_is_refused(opened: Callable[[], Store]) -> None:
    """Fails if the comparison goes: two writers would then overwrite each other."""
    store = opened()
    made = store.create(MAPS, config_map("a", k="1"))
    store.update(MAPS, made | {"data": {"k": "2"}}, 1)
    with pytest.raises(Moved):
        store.update(MAPS, made | {"data": {"k": "3"}}, 1)
    with pytest.raises(Moved):
        store.delete(MAPS, made, 1)
    found = store.get(MAPS, "one", "a")
    assert found is not None
    assert found["data"] == {"k": "2"}


def test_a_name_is_taken_once(opened: Callable[[], Store]) -> None:
    store = opened()
    store.create(MAPS, config_map("a"))
    with pytest.raises(Taken):
        store.create(MAPS, config_map("a"))
    assert store.revision == 1


def test_what_is_read_can_be_changed_without_changing_what_is_stored(
    opened: Callable[[], Store],
) -> None:
    store = opened()
    store.create(MAPS, config_map("a", k="1"))
    found = store.get(MAPS, "one", "a")
    assert found is not None
    found["data"]["k"] = "changed"
    assert store.get(MAPS, "one", "a") != found


def test_the_database_is_for_its_owner_only(opened: Callable[[], Store], tmp_path: Path) -> None:
    """Fails if the file is made with the default mode: secrets are in it."""
    opened().create(MAPS, config_map("a"))
    for path in tmp_path.glob("kubernetes.db*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_database_of_another_format_is_refused_and_left_alone(
    opened: Callable[[], Store], tmp_path: Path
) -> None:
    opened().close()
    path = tmp_path / "kubernetes.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreError) as refused:
        opened()
    assert "format 99" in refused.value.message
    assert "data dir" in refused.value.hint
    assert path.read_bytes() == before
    assert path not in [each.resolve() for each in Path("/proc/self/fd").iterdir()]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kubernetes.db").write_bytes(b"not a database at all, but long enough" * 40)
    with pytest.raises(StoreError) as refused:
        Store(tmp_path / "kubernetes.db").open()
    assert refused.value.code == "cluster_store"


def test_a_write_that_fails_changes_nothing_in_memory(opened: Callable[[], Store]) -> None:
    store = opened()
    store.create(MAPS, config_map("a"))
    store.close()
    with pytest.raises(StoreError):
        store.create(MAPS, config_map("b"))
    assert store.revision == 1
    assert store.get(MAPS, "one", "b") is None


WRITER = """
    import sys
    from pathlib import Path
    from podpass.kubernetes.apiserver.kinds import named
    from podpass.kubernetes.apiserver.storage.storage import Store

    store = Store(Path(sys.argv[1]))
    store.open()
    number = 0
    while True:
        store.create(named("ConfigMap"), {"metadata": {"name": f"m{number}", "namespace": "one"}})
        print(number, flush=True)
        number += 1
"""


def test_kill_dash_nine_loses_nothing_that_was_acknowledged(
    opened: Callable[[], Store], tmp_path: Path
) -> None:
    """Fails if an answer goes out before its commit."""
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
    store = opened()
    names = {entry.name for entry in store.entries(MAPS)}
    assert names >= {f"m{number}" for number in range(last + 1)}
    assert store.revision == len(names)


def test_a_damaged_row_is_named_with_its_cure(tmp_path: Path) -> None:
    path = tmp_path / "kubernetes.db"
    store = Store(path)
    store.open()
    store.create(named("ConfigMap"), {"metadata": {"name": "web", "namespace": "default"}})
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE objects SET value = '{broken'")
    with pytest.raises(StoreError) as refused:
        Store(path).open()
    assert "configmaps default/web" in refused.value.message
    assert "restore" in refused.value.hint
