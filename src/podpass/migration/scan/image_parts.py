"""Open the parts of an image by name, in a tar archive of `docker save` or OCI, or in a folder."""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol

from podpass.migration.scan.folder import open_regular
from podpass.migration.scan.limits import Budget
from podpass.migration.scan.model import ContentStream, LimitExceeded, ScanFailed
from podpass.migration.scan.tar_stream import EntryType, read_entries

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# An archive of `docker save` has a few files for each layer; their names are digests.
MAX_PARTS = 20_000
_MAX_NAME_CHARS = 255


class NotAnImage(ScanFailed):
    """A file or folder is not an image in a known format."""

    code = "not_an_image"
    hint = (
        "save it again with `docker save IMAGE -o FILE.tar` or `ctr images export FILE.tar IMAGE`"
    )


class ImageParts(Protocol):
    """The parts of an image file or folder."""

    def open(self, name: str) -> ContentStream | None:
        """Open a part; None if it does not exist."""

    def close(self) -> None:
        """Close all files."""


def open_parts(path: Path, budget: Budget) -> ImageParts:
    """Open an archive or a folder. Raises NotAnImage, InvalidArchive, LimitExceeded."""
    if path.is_dir():
        return _FolderParts(path)
    file = path.open("rb")
    try:
        return _ArchiveParts(file, path, budget)
    except BaseException:
        file.close()
        raise


class _FolderParts:
    """The files of a folder; a link is not followed, and a name cannot leave the folder."""

    def __init__(self, root: Path) -> None:
        self._root, self._stack = root, ExitStack()

    def open(self, name: str) -> ContentStream | None:
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts:
            return None
        for depth in range(1, len(parts)):
            if self._root.joinpath(*parts[:depth]).is_symlink():
                return None
        file = open_regular(self._root / name)
        return None if file is None else self._stack.enter_context(file)

    def close(self) -> None:
        self._stack.close()


class _ArchiveParts:
    """The files of an archive; their places are read first, because they come in any order."""

    def __init__(self, file: BinaryIO, path: Path, budget: Budget) -> None:
        start = file.read(4)
        if start.startswith(GZIP) or start == ZSTD:
            raise NotAnImage(f"{path} is compressed", hint=f"decompress it first: gunzip {path}")
        file.seek(0)
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}
        for entry in read_entries(file, budget):
            if entry.type is EntryType.FILE:
                if len(entry.path) <= _MAX_NAME_CHARS and entry.path.isascii():
                    self._places[entry.path] = file.seek(0, os.SEEK_CUR), entry.content.left
                    if len(self._places) > MAX_PARTS:
                        raise LimitExceeded(f"the archive has more than {MAX_PARTS} files")
                file.seek(entry.content.left, 1)
                entry.content.left = 0

    def open(self, name: str) -> ContentStream | None:
        found = self._places.get(name.removeprefix("./"))
        return None if found is None else _Member(self._file, *found)

    def close(self) -> None:
        self._file.close()


class _Member:
    """A part of a file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._at, self._left = file, start, size

    def read(self, size: int = -1, /) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._at += len(data)
        self._left -= len(data)
        return data
