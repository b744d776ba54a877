"""Walk a folder: regular files only, no link is followed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from podpass.migration.scan.limits import Budget, is_path_allowed

_SKIPPED = {".git", ".hg", ".svn"}


def walk(root: Path, budget: Budget, skipped: list[str]) -> Iterator[str]:
    """Yield the relative paths of regular files, folder by folder, sorted.

    `skipped` gets paths that are too long, unreadable, or on another file system, such as /proc. Raises
    LimitExceeded.
    """
    device = root.stat().st_dev
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            entries = _list_folder(root, folder, budget)
        except OSError:
            skipped.append(folder)
            continue
        folders: list[str] = []
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if not is_path_allowed(path):
                skipped.append(path)
            elif entry.is_file(follow_symlinks=False):
                yield path
            elif entry.is_dir(follow_symlinks=False) and entry.name not in _SKIPPED:
                is_same = entry.stat(follow_symlinks=False).st_dev == device
                (folders if is_same else skipped).append(path)
        pending += reversed(folders)


def _list_folder(root: Path, folder: str, budget: Budget) -> list["os.DirEntry[str]"]:
    found = []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            budget.charge_name(f"{folder}/{entry.name}")
            found.append(entry)
    return sorted(found, key=lambda each: each.name)


def open_regular(path: Path) -> BinaryIO | None:
    """Open a regular file; None if the path is a link or another type, or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")
