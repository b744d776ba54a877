"""Private files that survive a crash."""

import os
import stat
from pathlib import Path

import pytest

from podpass import files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_directories_are_accessible_to_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        files.create_private_folder(tmp_path / "a")
        files.write_private(tmp_path / "a" / "key", b"secret")
    finally:
        os.umask(old)
    assert mode(tmp_path / "a") == 0o700
    assert mode(tmp_path / "a" / "key") == 0o600


def test_partial_file_of_crash_is_replaced_without_its_mode(tmp_path: Path) -> None:
    part = tmp_path / ".key.part"
    part.write_bytes(b"half")
    part.chmod(0o666)
    files.write_private(tmp_path / "key", b"whole")
    assert (tmp_path / "key").read_bytes() == b"whole"
    assert mode(tmp_path / "key") == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_symlink_at_path_of_partial_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"untouched")
    (tmp_path / ".key.part").symlink_to(target)
    files.write_private(tmp_path / "key", b"whole")
    assert target.read_bytes() == b"untouched"


def test_file_to_append_to_gets_its_mode_if_it_exists(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first ")
    path.chmod(0o644)
    with files.open_private(path) as stream:
        stream.write(b"second")
    assert path.read_bytes() == b"first second"
    assert mode(path) == 0o600


def test_failed_replace_leaves_old_file(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write_private(tmp_path / "key", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_removing_missing_file_succeeds(tmp_path: Path) -> None:
    files.write_private(tmp_path / "key", b"x")
    files.remove(tmp_path / "key")
    files.remove(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_for_tests", [False, True], ids=["instance", "instance for tests"])
def test_files_are_synced_unless_the_instance_is_for_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_for_tests: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(files, "_is_durable", True)
    if is_for_tests:
        files.skip_sync()
    files.write_private(tmp_path / "a", b"data")
    files.sync(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"data"
    assert bool(synced) is not is_for_tests
    assert files.is_durable() is not is_for_tests
