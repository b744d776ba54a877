"""The data directory: modes, refusals, configuration, lock and ports."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podpass.crypto.secret import Secret
from podpass.errors import Error
from podpass.http.server import PortInUse, bind
from podpass.lab.data import ports
from podpass.lab.data.datadir import (
    DataDir,
    DataDirError,
    ForeignOwner,
    InstanceConfig,
    NotWritable,
    WrongVersion,
    initialise,
    load_config,
    locate,
    prepare,
    save_ports,
)
from podpass.lab.data.lock import Lock, LockRemoved, check_lock_file, lock_holder
from tests.ports import free_base


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "state" / "instance")


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_default_data_dir_is_in_the_state_folder() -> None:
    assert locate(None, {"XDG_STATE_HOME": "/state"}).root == Path("/state/podpass")
    assert locate(None, {}).root == Path.home() / ".local/state/podpass"
    assert locate(None, {"XDG_STATE_HOME": "relative"}).root == Path.home() / ".local/state/podpass"


def test_administrators_password_never_reads_as_an_option() -> None:
    passwords = [InstanceConfig.new().admin_password.reveal() for _ in range(500)]
    assert not [password for password in passwords if not password[0].isalnum()]


def test_user_without_a_home_directory_fails_only_when_a_data_dir_is_needed(
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


def test_new_data_dir_has_private_modes(data_dir: DataDir) -> None:
    prepare(data_dir)
    initialise(data_dir)
    assert stat.S_IMODE(data_dir.root.stat().st_mode) == 0o700
    assert {mode & 0o077 for mode in _modes(data_dir.root).values()} == {0}
    assert data_dir.path("version").read_text() == "1\n"


def test_data_dir_mode_is_restricted_to_the_owner(data_dir: DataDir) -> None:
    data_dir.root.mkdir(parents=True, mode=0o755)
    prepare(data_dir)
    assert stat.S_IMODE(data_dir.root.stat().st_mode) == 0o700


def test_folder_with_other_files_is_refused_and_not_changed(data_dir: DataDir) -> None:
    """A home directory passed by mistake must not get podpass files or another mode."""
    data_dir.root.mkdir(parents=True)
    data_dir.root.chmod(0o755)
    (data_dir.root / "letter.txt").write_text("dear")
    with pytest.raises(DataDirError, match="contains other files"):
        prepare(data_dir)
    assert _modes(data_dir.root).keys() == {"letter.txt"}
    assert stat.S_IMODE(data_dir.root.stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give a directory away")
def test_data_dir_of_another_user_is_refused_and_not_changed(data_dir: DataDir) -> None:
    """Its owner could add images, whose commands the superuser would then run."""
    prepare(data_dir)
    initialise(data_dir)
    before = _modes(data_dir.root)
    os.chown(data_dir.root, 1, 1)
    with pytest.raises(ForeignOwner, match="belongs to the user daemon"):
        prepare(data_dir)
    assert _modes(data_dir.root) == before


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_data_dir_that_others_may_write_to_is_refused(data_dir: DataDir, mode: int) -> None:
    prepare(data_dir)
    initialise(data_dir)
    data_dir.root.chmod(mode)
    with pytest.raises(ForeignOwner, match="other users may write"):
        prepare(data_dir)
    assert stat.S_IMODE(data_dir.root.stat().st_mode) == mode


def test_empty_directory_with_a_permissive_mode_is_accepted_and_restricted(
    data_dir: DataDir,
) -> None:
    data_dir.root.mkdir(parents=True)
    data_dir.root.chmod(0o775)
    prepare(data_dir)
    assert stat.S_IMODE(data_dir.root.stat().st_mode) == 0o700


def test_interrupted_start_can_be_repeated(data_dir: DataDir) -> None:
    data_dir.root.mkdir(parents=True)
    (data_dir.root / "lock").touch()
    (data_dir.root / ".version.part").touch()
    prepare(data_dir)
    initialise(data_dir)


def test_other_data_version_is_refused_with_both_versions_and_a_hint(data_dir: DataDir) -> None:
    prepare(data_dir)
    initialise(data_dir)
    data_dir.path("version").write_text("7\n")
    with pytest.raises(WrongVersion) as caught:
        prepare(data_dir)
    assert (caught.value.facts["found"], caught.value.facts["wanted"]) == ("7", "1")
    assert "'7'" in caught.value.message
    assert "version 1" in caught.value.message
    assert "--data-dir" in caught.value.hint


def test_file_in_place_of_the_data_dir_is_reported(data_dir: DataDir) -> None:
    data_dir.root.parent.mkdir()
    data_dir.root.write_text("a file")
    with pytest.raises(NotWritable) as caught:
        prepare(data_dir)
    assert str(data_dir.root) in caught.value.message
    assert caught.value.hint


def test_file_in_place_of_a_parent_folder_is_reported(data_dir: DataDir) -> None:
    data_dir.root.parent.write_text("a file")
    with pytest.raises(NotWritable):
        prepare(data_dir)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_folder_without_write_permission_is_refused(data_dir: DataDir) -> None:
    data_dir.root.parent.mkdir(mode=0o500)
    with pytest.raises(NotWritable, match="Permission denied"):
        prepare(data_dir)


def test_instance_config_is_created_once(data_dir: DataDir) -> None:
    prepare(data_dir)
    first = initialise(data_dir)
    assert initialise(data_dir) == first or _same(initialise(data_dir), first)
    assert first.issuer.startswith("https://eastus.oic.prod-aks.azure.com/" + first.tenant_id)
    assert first.issuer.endswith("/")


def _same(one: object, other: object) -> bool:
    return repr(one) == repr(other)


def test_instance_config_hides_secrets_in_its_repr(data_dir: DataDir) -> None:
    prepare(data_dir)
    facts = initialise(data_dir)
    stored = json.loads(data_dir.path("instance.json").read_text())
    assert stored["control_token"] == facts.control_token.reveal()
    assert isinstance(facts.admin_password, Secret)
    assert stored["control_token"] not in repr(facts)
    assert stored["admin"]["password"] not in repr(facts)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tenant_id": "x"}', '{"ports": 1}'])
def test_damaged_instance_config_is_reported_and_not_overwritten(
    data_dir: DataDir, content: str
) -> None:
    """A new configuration would break every federated credential with the old issuer."""
    prepare(data_dir)
    initialise(data_dir)
    data_dir.path("instance.json").write_text(content)
    with pytest.raises(DataDirError, match="damaged"):
        load_config(data_dir)
    assert data_dir.path("instance.json").read_text() == content


@pytest.fixture
def without_folder_lock() -> Iterator[None]:
    """Lock only the file, as on a file system that locks no folder."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Lock, "_lock_folder", lambda _: True)
        yield


@pytest.mark.usefixtures("without_folder_lock")
def test_lock_has_one_holder_and_returns_its_process_id(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert lock_holder(path) is None
    lock = Lock(path)
    assert lock.acquire()
    assert lock_holder(path) == os.getpid()
    assert not Lock(path).acquire()
    lock.release()
    assert lock_holder(path) is None
    assert not path.exists()


def test_lock_file_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import os, sys; from pathlib import Path; from podpass.lab.data.lock import Lock;"
        "assert Lock(Path(sys.argv[1])).acquire(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=30)
    assert path.exists()
    assert lock_holder(path) is None
    lock = Lock(path)
    assert lock.acquire()
    lock.release()


def test_lock_on_an_unlinked_file_is_not_accepted(tmp_path: Path) -> None:
    """Otherwise two processes could hold a lock: one on the old file, one on the new file."""
    path = tmp_path / "lock"
    first, second = Lock(path), Lock(path)
    assert first.acquire()
    first.release()
    assert second.acquire()
    assert lock_holder(path) == os.getpid()
    assert not Lock(path).acquire()
    second.release()


def test_folder_has_one_holder_even_if_the_file_is_removed(tmp_path: Path) -> None:
    """Otherwise a second instance would write to the databases of the first."""
    path = tmp_path / "lock"
    first, second = Lock(path), Lock(path)
    assert first.acquire()
    check_lock_file(path)
    path.unlink()
    assert not second.acquire()
    with pytest.raises(LockRemoved) as refused:
        check_lock_file(path)
    assert "status.json" in refused.value.hint
    first.release()
    check_lock_file(path)
    assert second.acquire()
    second.release()


@pytest.mark.usefixtures("without_folder_lock")
def test_lock_on_a_file_that_was_removed_during_the_attempt_is_not_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack on a race: the holder removes its file after this process opened it, and before it locks it."""
    path = tmp_path / "lock"
    first, second, third = Lock(path), Lock(path), Lock(path)
    assert first.acquire()
    opened = os.open

    def open_old_file(*arguments: Any) -> int:
        descriptor = opened(*arguments)
        monkeypatch.undo()
        first.release()
        assert third.acquire()
        return descriptor

    monkeypatch.setattr(os, "open", open_old_file)
    assert not second.acquire()
    third.release()


def test_ports_are_consecutive_from_the_base() -> None:
    base = free_base(len(ports.SERVICES))
    sockets = ports.bind_all(base, {})
    try:
        assert list(ports.port_numbers(sockets).values()) == list(
            range(base, base + len(ports.SERVICES))
        )
        assert {sock.getsockname()[0] for sock in sockets.values()} == {"127.0.0.1"}
    finally:
        ports.close_all(sockets)


def test_port_in_use_closes_all_other_ports() -> None:
    base = free_base(len(ports.SERVICES))
    with bind("127.0.0.1", base + 3):
        with pytest.raises(PortInUse) as caught:
            ports.bind_all(base, {})
        assert caught.value.facts["port"] == base + 3
        assert "--port-base" in caught.value.hint
    ports.close_all(ports.bind_all(base, {}))


def test_saved_ports_are_reused_unless_they_are_in_use() -> None:
    first = ports.bind_all(0, {})
    numbers = ports.port_numbers(first)
    ports.close_all(first)
    with bind("127.0.0.1", numbers["vault"]):
        again = ports.bind_all(0, numbers)
        found = ports.port_numbers(again)
        ports.close_all(again)
    changed = {name for name in found if found[name] != numbers[name]}
    assert changed == {"vault"}


def test_ports_are_saved_in_the_instance_config(data_dir: DataDir) -> None:
    prepare(data_dir)
    facts = save_ports(data_dir, initialise(data_dir), {"gateway": 4711})
    assert load_config(data_dir).ports == facts.ports == {"gateway": 4711}


def test_every_data_dir_error_has_a_hint() -> None:
    for kind in (DataDirError, WrongVersion, NotWritable):
        assert issubclass(kind, Error)
        assert kind.hint
