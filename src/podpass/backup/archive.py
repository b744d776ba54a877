"""Writes and reads the backup file, with at most one part in memory.

A file is untrusted until it has been checked: only regular members, names of one form, bounded sizes, and
every digest compared. No file is ever created under a name from the archive.
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
from podpass.backup.model import InvalidBackupFile, Manifest, Part

PART_BYTES = 1024 * 1024
# A row is never split, so a part may be longer than PART_BYTES by one row.
_MAX_PART_BYTES = 16 * PART_BYTES
# Enough for 30,000 parts, which is 30 GB of rows.
_MAX_MANIFEST_BYTES = 4 * PART_BYTES
# A small file that expands to many gigabytes fills the disk. Rows and databases are compressed 4 to 20 times.
_MAX_RATIO = 100
_MIN_EXPANDED_BYTES = 64 * PART_BYTES
_BLOCK = tarfile.BLOCKSIZE
# Rows compress well at any level. This level takes a third of the default's time.
_LEVEL = 2
# Selects the gzip format of zlib, without a name and a time.
_GZIP = 16 + zlib.MAX_WBITS


class Writer:
    """Writes one backup to a stream, one part after another."""

    def __init__(self, stream: BinaryIO) -> None:
        # Not `GzipFile`: the garbage collector would complete an unfinished file after a failure.
        self._stream = stream
        self._zip = zlib.compressobj(_LEVEL, wbits=_GZIP)
        self.parts: list[Part] = []
        self._write_member(model.BEGIN, f"format {model.FORMAT}\n".encode())

    def add(self, name: str, data: bytes) -> None:
        """Write one part."""
        self._write_member(name, data)
        digest = hashlib.sha256(data).hexdigest()
        self.parts.append(Part(name=name, size=len(data), sha256=digest))

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest and the end."""
        self._write_member(
            model.MANIFEST, orjson.dumps(model.to_json(manifest), option=orjson.OPT_INDENT_2)
        )
        self._write(bytes(2 * _BLOCK))
        self._stream.write(self._zip.flush())

    def _write_member(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        self._write(member.tobuf(tarfile.USTAR_FORMAT))
        self._write(data)
        self._write(bytes(-len(data) % _BLOCK))

    def _write(self, data: bytes) -> None:
        self._stream.write(self._zip.compress(data))


def check(path: Path) -> Manifest:
    """Read a whole backup, and compare every part with the manifest. Raises InvalidBackupFile."""
    found: list[Part] = []
    rows: Counter[tuple[str, str]] = Counter()
    with _iterate_members(path) as members:
        for name, data in members:
            if name == model.MANIFEST:
                manifest = model.parse_manifest(data)
                break
            table = model.table_of(name)
            if table is None and model.file_of(name) is None:
                raise InvalidBackupFile(f"{path.name} has an unknown part")
            if table is not None:
                rows[table] += data.count(b"\n")
            digest = hashlib.sha256(data).hexdigest()
            found.append(Part(name=name, size=len(data), sha256=digest))
        else:
            raise InvalidBackupFile(f"{path.name} is truncated: it has no manifest")
        if next(members, None) is not None:
            raise InvalidBackupFile(f"{path.name} has data after its manifest")
    _compare(path, manifest, found, rows)
    return manifest


def read_parts(path: Path, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Read the parts of a checked backup. The file may have been replaced since the check.

    Raises InvalidBackupFile.
    """
    with _iterate_members(path) as members:
        for part in manifest.parts:
            name, data = next(members, ("", b""))
            if (name, hashlib.sha256(data).hexdigest()) != (part.name, part.sha256):
                raise InvalidBackupFile(f"{path.name} changed while it was read")
            yield name, data


def _compare(
    path: Path, manifest: Manifest, found: list[Part], rows: Counter[tuple[str, str]]
) -> None:
    if tuple(found) != manifest.parts:
        wrong = next(
            (one.name for one, listed in zip(found, manifest.parts, strict=False) if one != listed),
            "the list of parts",
        )
        raise InvalidBackupFile(f"{path.name} is damaged: {wrong} differs from the manifest")
    listed_rows = {
        (store, name): table.rows
        for store, one in manifest.stores.items()
        for name, table in one.tables.items()
        if table.rows
    }
    if listed_rows != dict(rows):
        raise InvalidBackupFile(f"{path.name} is damaged: its row counts differ from the manifest")


@contextmanager
def _iterate_members(path: Path) -> Iterator[Iterator[tuple[str, bytes]]]:
    with (
        _translating_errors(path),
        path.open("rb") as stream,
        gzip.GzipFile("", "rb", 9, stream) as unzipped,
    ):
        yield _read(path, unzipped)


@contextmanager
def _translating_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError, tarfile.HeaderError) as exc:
        raise InvalidBackupFile(f"{path.name} is damaged, truncated, or not a backup") from exc
    except OSError as exc:
        raise InvalidBackupFile(
            f"{path} cannot be read: {exc.strerror}", hint="pass the path of a backup"
        ) from exc


def _read(path: Path, unzipped: gzip.GzipFile) -> Iterator[tuple[str, bytes]]:
    name, data = _next_member(path, unzipped) or ("", b"")
    if name != model.BEGIN:
        raise InvalidBackupFile(
            f"{path.name} is not a backup of podpass", hint="pass the path of a backup"
        )
    if data != f"format {model.FORMAT}\n".encode():
        raise InvalidBackupFile(
            f"{path.name} has another backup format than {model.FORMAT}",
            hint="restore it with the podpass that created it, or a newer one",
        )
    read = 0
    while (member := _next_member(path, unzipped)) is not None:
        read += _BLOCK + len(member[1])
        if read > max(_MIN_EXPANDED_BYTES, _MAX_RATIO * path.stat().st_size):
            raise InvalidBackupFile(f"{path.name} expands to more than {_MAX_RATIO} times its size")
        yield member


def _next_member(path: Path, unzipped: gzip.GzipFile) -> tuple[str, bytes] | None:
    header = _read_exactly(unzipped, _BLOCK)
    if header == bytes(_BLOCK):
        # Read to the end, where gzip has its checksum. tar fills its last record with zeros.
        rest = unzipped.read(tarfile.RECORDSIZE + 1)
        if not _BLOCK <= len(rest) <= tarfile.RECORDSIZE or rest.strip(b"\0"):
            raise InvalidBackupFile(f"{path.name} has data after its end")
        return None
    member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    max_bytes = _MAX_MANIFEST_BYTES if member.name == model.MANIFEST else _MAX_PART_BYTES
    if member.type != tarfile.REGTYPE or not 0 <= member.size <= max_bytes:
        raise InvalidBackupFile(f"{path.name} has an unknown part")
    data = _read_exactly(unzipped, member.size)
    _read_exactly(unzipped, -member.size % _BLOCK)
    return member.name, data


def _read_exactly(stream: gzip.GzipFile, size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data
