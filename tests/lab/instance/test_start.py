"""A part that cannot start ends with an error that names the cause."""

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from podpass.errors import Error
from podpass.lab.data.disk_errors import DiskNotWritable, find_disk_problem, translate_disk_errors
from podpass.lab.instance.start import PartNotReady, limit_start
from tests.lab.instance.instances import Podpass

KIB = 1024


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    found = SimpleNamespace(f_flag=0, f_bavail=0, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: found)


@pytest.mark.usefixtures("full_disk")
async def test_part_that_retries_on_a_full_disk_ends_with_its_cause(tmp_path: Path) -> None:
    with pytest.raises(DiskNotWritable, match="the disk is full: kubelet cannot start"):
        async with limit_start("kubelet", tmp_path, check_seconds=0.01):
            await asyncio.Event().wait()


@pytest.mark.usefixtures("full_disk")
async def test_error_of_a_part_on_a_full_disk_names_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskNotWritable, match="the disk is full: cannot open the database"):
        async with limit_start("directory", tmp_path):
            raise Error("cannot open the database")


async def test_part_that_never_starts_ends_at_the_limit(tmp_path: Path) -> None:
    with pytest.raises(PartNotReady, match="kubelet was not ready within"):
        async with limit_start("kubelet", tmp_path, max_seconds=0.01):
            await asyncio.Event().wait()


async def test_errors_of_the_part_itself_are_raised_unchanged(tmp_path: Path) -> None:
    for error in (TimeoutError("its own"), Error("its own")):
        with pytest.raises(type(error), match="its own"):
            async with limit_start("kubelet", tmp_path):
                raise error


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of six megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6000k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.processes
@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can mount a small disk")
def test_up_on_a_full_disk_ends_and_names_the_disk(small_disk: Path) -> None:
    """Fails if a part that retries its writes lets `podpass up -d` wait without a message."""
    podpass = Podpass(small_disk / "data")
    podpass.up()
    podpass("down")
    fill = small_disk / "fill"
    for free in (80, 120):
        fill.unlink(missing_ok=True)
        with fill.open("wb") as stream:
            left = shutil.disk_usage(small_disk).free
            os.posix_fallocate(stream.fileno(), 0, left - free * KIB)
        done = podpass("up", "-d", "--port-base", "0")
        podpass("down")
        assert done.returncode == 0 or "the disk is" in done.stderr


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
