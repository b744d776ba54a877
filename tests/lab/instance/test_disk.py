"""Disk errors are translated, other errors are not."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from podpass.lab.data.disk_errors import DiskNotWritable, find_disk_problem, translate_disk_errors


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "the disk is full: /d/f"), (errno.EROFS, "the disk is read-only: /d/f")],
)
def test_disk_error_is_reported_with_a_hint(number: int, said: str) -> None:
    with pytest.raises(DiskNotWritable) as caught, translate_disk_errors():
        raise OSError(number, "text of the system", "/d/f")
    assert caught.value.message == said
    assert "--data-dir" in caught.value.hint


def test_os_error_of_another_kind_is_raised_unchanged() -> None:
    with pytest.raises(FileNotFoundError), translate_disk_errors():
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
def test_full_or_read_only_disk_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, flag: int, said: str | None
) -> None:
    found = SimpleNamespace(f_flag=flag, f_bavail=blocks, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: found)
    assert find_disk_problem(tmp_path) == said
