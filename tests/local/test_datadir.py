"""The data dir: whose it is, what is refused, and that one process has it at a time."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from podpass.crypto.secret import Secret
from podpass.errors import Error
from podpass.http.server import PortInUse, bind
from podpass.local import ports
from podpass.local.datadir import (
    DataDir,
    DataDirError,
    NotWritable,
    WrongVersion,
    initialise,
    load_facts,
    locate,
    prepare,
    remember_ports,
)
from podpass.local.lock import Lock, holder


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "state" / "instance")


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_the_default_is_below_the_state_folder() -> None:
    assert locate(None, {"XDG_STATE_HOME": "/state"}).root == Path("/state/podpass")
    assert locate(None, {}).root == Path.home() / ".local/state/podpass"
    assert locate(None, {"XDG_STATE_HOME": "relative"}).root == Path.home() / ".local/state/podpass"


def test_a_user_without_a_home_has_none_until_one_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    named = locate(None, {})
    assert named.root == Path("/nonexistent/.local/state/podpass")


def test_a_relative_folder_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(Path("here/../there"), {}).root == tmp_path / "there"


def test_a_fresh_folder_is_private_in_all_its_parts(data_dir: DataDir) -> None:
    prepare(data_dir)
    initialise(data_dir)
    assert stat.S_IMODE(data_dir.root.stat().st_mode) == 0o700
    assert {mode & 0o077 for mode in _modes(data_dir.root).values()} == {0}
    assert data_dir.path("version").read_text() == "1\n"


def test_a_folder_open_to_others_is_closed(data_dir: DataDir) -> None:
    data_dir.root.mkdir(parents=True, mode=0o755)
    prepare(data_dir)
    assert stat.S_IMODE(data_dir.root.stat().st_mode) == 0o700


def test_somebody_elses_folder_is_neither_used_nor_changed(data_dir: DataDir) -> None:
    """A home named by mistake would be closed to others and filled with our files."""
    data_dir.root.mkdir(parents=True)
    data_dir.root.chmod(0o755)
    (data_dir.root / "letter.txt").write_text("dear")
    with pytest.raises(DataDirError, match="holds other files"):
        prepare(data_dir)
    assert _modes(data_dir.root).keys() == {"letter.txt"}
    assert stat.S_IMODE(data_dir.root.stat().st_mode) == 0o755


def test_a_start_that_was_cut_short_can_be_repeated(data_dir: DataDir) -> None:
    data_dir.root.mkdir(parents=True)
    (data_dir.root / "lock").touch()
    (data_dir.root / ".version.part").touch()
    prepare(data_dir)
    initialise(data_dir)


def test_another_version_is_refused_with_both_versions_and_a_way_out(data_dir: DataDir) -> None:
    prepare(data_dir)
    initialise(data_dir)
    data_dir.path("version").write_text("7\n")
    with pytest.raises(WrongVersion) as caught:
        prepare(data_dir)
    assert (caught.value.facts["found"], caught.value.facts["wanted"]) == ("7", "1")
    assert "'7'" in caught.value.message
    assert "version 1" in caught.value.message
    assert "--data-dir" in caught.value.hint


def test_a_file_in_the_way_is_said_to_be_there(data_dir: DataDir) -> None:
    data_dir.root.parent.mkdir()
    data_dir.root.write_text("a file")
    with pytest.raises(NotWritable) as caught:
        prepare(data_dir)
    assert str(data_dir.root) in caught.value.message
    assert caught.value.hint


def test_a_file_where_a_parent_should_be_is_said_to_be_there(data_dir: DataDir) -> None:
    data_dir.root.parent.write_text("a file")
    with pytest.raises(NotWritable):
        prepare(data_dir)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_folder_without_write_permission_is_refused(data_dir: DataDir) -> None:
    data_dir.root.parent.mkdir(mode=0o500)
    with pytest.raises(NotWritable, match="Permission denied"):
        prepare(data_dir)


def test_facts_are_made_once_and_read_ever_after(data_dir: DataDir) -> None:
    prepare(data_dir)
    first = initialise(data_dir)
    assert initialise(data_dir) == first or _same(initialise(data_dir), first)
    assert first.issuer.startswith("https://eastus.oic.prod-aks.azure.com/" + first.tenant_id)
    assert first.issuer.endswith("/")


def _same(one: object, other: object) -> bool:
    return repr(one) == repr(other)


def test_facts_keep_their_secrets_out_of_reprs(data_dir: DataDir) -> None:
    prepare(data_dir)
    facts = initialise(data_dir)
    stored = json.loads(data_dir.path("instance.json").read_text())
    assert stored["control_token"] == facts.control_token.reveal()
    assert isinstance(facts.admin_password, Secret)
    assert stored["control_token"] not in repr(facts)
    assert stored["admin"]["password"] not in repr(facts)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tenant_id": "x"}', '{"ports": 1}'])
def test_damaged_facts_are_reported_and_never_overwritten(data_dir: DataDir, content: str) -> None:
    """Making new facts silently would orphan every credential that names the old issuer."""
    prepare(data_dir)
    initialise(data_dir)
    data_dir.path("instance.json").write_text(content)
    with pytest.raises(DataDirError, match="damaged"):
        load_facts(data_dir)
    assert data_dir.path("instance.json").read_text() == content


def test_the_lock_belongs_to_one_and_tells_whom(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert holder(path) is None
    lock = Lock(path)
    assert lock.acquire()
    assert holder(path) == os.getpid()
    assert not Lock(path).acquire()
    lock.release()
    assert holder(path) is None
    assert not path.exists()


def test_a_lock_file_left_by_a_killed_process_is_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import os, sys; from pathlib import Path; from podpass.local.lock import Lock;"
        "assert Lock(Path(sys.argv[1])).acquire(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=30)
    assert path.exists()
    assert holder(path) is None
    lock = Lock(path)
    assert lock.acquire()
    lock.release()


def test_a_lock_whose_file_was_unlinked_meanwhile_is_not_taken_for_one(tmp_path: Path) -> None:
    """Two processes could otherwise both hold a lock: one the old file's, one the new one's."""
    path = tmp_path / "lock"
    first, second = Lock(path), Lock(path)
    assert first.acquire()
    first.release()
    assert second.acquire()
    assert holder(path) == os.getpid()
    assert not Lock(path).acquire()
    second.release()


def test_ports_follow_each_other_from_the_base() -> None:
    base = _free_base()
    sockets = ports.bind_all(base, {})
    try:
        assert list(ports.numbers(sockets).values()) == list(
            range(base, base + len(ports.SERVICES))
        )
        assert {sock.getsockname()[0] for sock in sockets.values()} == {"127.0.0.1"}
    finally:
        ports.close_all(sockets)


def _free_base() -> int:
    for base in range(20000, 30000, 50):
        try:
            ports.close_all(ports.bind_all(base, {}))
        except PortInUse:
            continue
        return base
    raise AssertionError("no free ports")


def test_a_port_in_use_leaves_none_of_the_others_open() -> None:
    base = _free_base()
    with bind("127.0.0.1", base + 3):
        with pytest.raises(PortInUse) as caught:
            ports.bind_all(base, {})
        assert caught.value.facts["port"] == base + 3
        assert "--port-base" in caught.value.hint
    ports.close_all(ports.bind_all(base, {}))


def test_remembered_ports_are_taken_again_and_replaced_only_where_in_use() -> None:
    first = ports.bind_all(0, {})
    numbers = ports.numbers(first)
    ports.close_all(first)
    with bind("127.0.0.1", numbers["vault"]):
        again = ports.bind_all(0, numbers)
        found = ports.numbers(again)
        ports.close_all(again)
    changed = {name for name in found if found[name] != numbers[name]}
    assert changed == {"vault"}


def test_ports_are_remembered_with_the_facts(data_dir: DataDir) -> None:
    prepare(data_dir)
    facts = remember_ports(data_dir, initialise(data_dir), {"gateway": 4711})
    assert load_facts(data_dir).ports == facts.ports == {"gateway": 4711}


def test_every_error_of_the_data_dir_says_what_to_do() -> None:
    for kind in (DataDirError, WrongVersion, NotWritable):
        assert issubclass(kind, Error)
        assert kind.hint
