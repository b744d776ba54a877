"""An image built without Docker, and a command that runs in its root as a container does.

Builds share compiled modules, since most of them never change. A release is compiled completely, twice in
tests/release/test_build.py.
"""

import contextlib
import functools
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from bench.peers.build import cache
from tests.run_program import Done, run_text

ROOT = Path(__file__).parents[2]
USER = 65532
_UNUSED_SECONDS = 2 * 24 * 3600
SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox", "toybox"}


def run_script(*arguments: str) -> str:
    """Run `scripts/image.py`; return its output."""
    done = run_text(
        [sys.executable, str(ROOT / "scripts" / "image.py"), *arguments],
        env={**os.environ, "PODPASS_IMAGE_BYTECODE": str(_bytecode())},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@functools.cache
def _bytecode() -> Path:
    """Return the folder of compiled modules without those that no build has used for days."""
    folder = cache().with_name("bytecode")
    remove_unused(folder.glob("*/*"))
    return folder


def remove_unused(paths: Iterable[Path]) -> None:
    """Remove the files and folders that nothing has used for two days."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another run removes it, too
            if time.time() - path.stat().st_mtime > _UNUSED_SECONDS:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def open_layer(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open the one layer of an image's archive."""
    with tarfile.open(archive) as tar:
        largest = max(tar.getmembers(), key=lambda entry: entry.size)
        with tarfile.open(fileobj=tar.extractfile(largest)) as layer:
            yield layer


def run_in_image(root: Path, *command: str) -> Done:
    """Run a command in the image as its user with a read-only root, as a cluster does; or skip the test."""
    if shutil.which("bwrap"):
        user = ("--unshare-all", "--uid", str(USER), "--gid", str(USER), "--clearenv")
        path = ("--setenv", "PATH", "/usr/local/bin", "--ro-bind", str(root), "/")
        prefix = ["bwrap", *user, *path, "--proc", "/proc", "--dev", "/dev"]
    elif os.geteuid() == 0 and shutil.which("unshare"):
        script = (
            'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && mount --bind /proc "$0/proc" && '
            f'exec env -i PATH=/usr/local/bin "$1" --userspec={USER}:{USER} "$0" "${{@:2}}"'
        )
        chroot = shutil.which("chroot") or "/usr/sbin/chroot"
        prefix = ["unshare", "--mount", "bash", "-c", script, str(root), chroot]
    else:
        pytest.skip("running an image needs bubblewrap, or root")
    return run_text([*prefix, *command])
