"""The backup's file, written and read piece by piece: never more than one part in memory.

What is read is a stranger's until it has been checked: plain files only, names of one form, sizes bounded
before a byte is taken, every digest compared. Nothing is ever unpacked under a name from the file.
"""

import gzip
import hashlib
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import orjson

from podpass.backup import model
from podpass.backup.model import BackupUnfit, Manifest, Part

PART_BYTES = 1024 * 1024
# A row is never cut, so a part may be longer by one.
_LONGEST_PART = 16 * PART_BYTES
_LONGEST_MANIFEST = 64 * PART_BYTES
_BLOCK = tarfile.BLOCKSIZE
# Rows compress well at any level; this one costs a third of the time of the usual.
_LEVEL = 2
# zlib's word for gzip's frame around what is compressed, with no name and no time in it.
_GZIP = 16 + zlib.MAX_WBITS


class Writer:
    """Writes one backup to a stream, part after part."""

    def __init__(self, stream: BinaryIO) -> None:
        # No `GzipFile`: one that a refusal leaves unfinished is told of by the collector, which ends it too.
        self._stream = stream
        self._zip = zlib.compressobj(_LEVEL, wbits=_GZIP)
        self.parts: list[Part] = []
        self._put(model.BEGIN, f"format {model.FORMAT}\n".encode())

    def add(self, name: str, data: bytes) -> None:
        """Write one part."""
        self._put(name, data)
        digest = hashlib.sha256(data).hexdigest()
        self.parts.append(Part(name=name, size=len(data), sha256=digest))

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest and the end."""
        self._put(model.MANIFEST, orjson.dumps(model.written(manifest), option=orjson.OPT_INDENT_2))
        self._write(bytes(2 * _BLOCK))
        self._stream.write(self._zip.flush())

    def _put(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        self._write(member.tobuf(tarfile.USTAR_FORMAT))
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))

    def _write(self, data: bytes) -> None:
        self._stream.write(self._zip.compress(data))


def check(path: Path) -> Manifest:
    """Read a whole backup, and compare every part with what the manifest says.

    Errors:  BackupUnfit.
    """
    found: list[Part] = []
    rows: Counter[tuple[str, str]] = Counter()
    with _members(path) as members:
        for name, data in members:
            if name == model.MANIFEST:
                manifest = model.read(data)
                break
            table = model.table_of(name)
            if table is None and model.file_of(name) is None:
                raise BackupUnfit(f"{path.name} has a part that no backup has")
            if table is not None:
                rows[table] += data.count(b"\n")
            digest = hashlib.sha256(data).hexdigest()
            found.append(Part(name=name, size=len(data), sha256=digest))
        else:
            raise BackupUnfit(f"{path.name} is cut off: it has no manifest")
        if next(members, None) is not None:
            raise BackupUnfit(f"{path.name} goes on after its manifest")
    _compare(path, manifest, found, rows)
    return manifest


def parts(path: Path, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Read the parts of a backup that was checked; it may have been written over since.

    Errors:  BackupUnfit.
    """
    with _members(path) as members:
        for part in manifest.parts:
            name, data = next(members, ("", b""))
            if (name, hashlib.sha256(data).hexdigest()) != (part.name, part.sha256):
                raise BackupUnfit(f"{path.name} has changed while it was read")
            yield name, data


def _compare(
    path: Path, manifest: Manifest, found: list[Part], rows: Counter[tuple[str, str]]
) -> None:
    if tuple(found) != manifest.parts:
        odd = next(
            (one.name for one, told in zip(found, manifest.parts, strict=False) if one != told),
            "the list of parts",
        )
        raise BackupUnfit(f"{path.name} is damaged: {odd} is not what the manifest says")
    told = {
        (store, name): table.rows
        for store, one in manifest.stores.items()
        for name, table in one.tables.items()
        if table.rows
    }
    if told != dict(rows):
        raise BackupUnfit(f"{path.name} is damaged: it does not have the rows that it says")


@contextmanager
def _members(path: Path) -> Iterator[Iterator[tuple[str, bytes]]]:
    with _telling(path), path.open("rb") as stream, gzip.GzipFile("", "rb", 9, stream) as unzipped:
        yield _read(path, unzipped)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError, tarfile.HeaderError) as exc:
        raise BackupUnfit(f"{path.name} is damaged, cut off, or no backup") from exc
    except OSError as exc:
        raise BackupUnfit(f"{path} cannot be read: {exc.strerror}", hint="name a backup") from exc


def _read(path: Path, unzipped: gzip.GzipFile) -> Iterator[tuple[str, bytes]]:
    name, data = _member(path, unzipped) or ("", b"")
    if name != model.BEGIN:
        raise BackupUnfit(f"{path.name} is no backup of podpass", hint="name a backup")
    if data != f"format {model.FORMAT}\n".encode():
        raise BackupUnfit(
            f"{path.name} is a backup of another format than {model.FORMAT}",
            hint="restore it with the podpass that made it, or a newer one",
        )
    while (member := _member(path, unzipped)) is not None:
        yield member


def _member(path: Path, unzipped: gzip.GzipFile) -> tuple[str, bytes] | None:
    header = _exactly(unzipped, _BLOCK)
    if header == bytes(_BLOCK):
        # To the very end, where gzip keeps its own sum; tar itself fills its last record with zeros.
        rest = unzipped.read(tarfile.RECORDSIZE + 1)
        if not _BLOCK <= len(rest) <= tarfile.RECORDSIZE or rest.strip(b"\0"):
            raise BackupUnfit(f"{path.name} goes on after its end")
        return None
    member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    longest = _LONGEST_MANIFEST if member.name == model.MANIFEST else _LONGEST_PART
    if member.type != tarfile.REGTYPE or not 0 <= member.size <= longest:
        raise BackupUnfit(f"{path.name} has a part that no backup has")
    data = _exactly(unzipped, member.size)
    _exactly(unzipped, -member.size % _BLOCK)
    return member.name, data


def _exactly(stream: gzip.GzipFile, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data
