"""Small files that survive a crash and stay private."""

import os
import stat
from pathlib import Path

import pytest

from podpass import files


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_folders_are_their_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        files.private_folder(tmp_path / "a")
        files.write_private(tmp_path / "a" / "key", b"secret")
    finally:
        os.umask(old)
    assert mode(tmp_path / "a") == 0o700
    assert mode(tmp_path / "a" / "key") == 0o600


def test_a_part_left_by_a_crash_is_no_obstacle_and_lends_no_mode(tmp_path: Path) -> None:
    part = tmp_path / ".key.part"
    part.write_bytes(b"half")
    part.chmod(0o666)
    files.write_private(tmp_path / "key", b"whole")
    assert (tmp_path / "key").read_bytes() == b"whole"
    assert mode(tmp_path / "key") == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_a_link_planted_where_the_part_goes_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"untouched")
    (tmp_path / ".key.part").symlink_to(target)
    files.write_private(tmp_path / "key", b"whole")
    assert target.read_bytes() == b"untouched"


def test_a_file_that_cannot_be_put_in_place_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write_private(tmp_path / "key", b"new")
    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


def test_removing_what_is_not_there_is_no_fault(tmp_path: Path) -> None:
    files.write_private(tmp_path / "key", b"x")
    files.remove(tmp_path / "key")
    files.remove(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
