"""A disk that does not take a file is told as such, other faults are not."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from podpass.local.disk_errors import DiskUnfit, fault, telling


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "the disk is full: /d/f"), (errno.EROFS, "the disk is read-only: /d/f")],
)
def test_a_disk_that_does_not_take_a_file_is_told_with_what_to_do(number: int, said: str) -> None:
    with pytest.raises(DiskUnfit) as caught, telling():
        raise OSError(number, "text of the system", "/d/f")
    assert caught.value.message == said
    assert "--data-dir" in caught.value.hint


def test_other_faults_pass_as_they_are() -> None:
    with pytest.raises(FileNotFoundError), telling():
        raise FileNotFoundError(errno.ENOENT, "gone")


@pytest.mark.parametrize(
    ("blocks", "flag", "said"),
    [
        (0, 0, "the disk is full"),
        (100, 0, "the disk is nearly full"),
        (10**6, os.ST_RDONLY, "the disk is read-only"),
        (10**6, 0, None),
    ],
)
def test_a_disk_that_will_refuse_the_next_write_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, flag: int, said: str | None
) -> None:
    found = SimpleNamespace(f_flag=flag, f_bavail=blocks, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    assert fault(tmp_path) == said
