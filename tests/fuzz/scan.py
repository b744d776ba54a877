"""Fuzz targets of `podpass migrate scan`: content of images, which their authors choose."""

import io
import struct
import tarfile
import zipfile
from io import BytesIO

from podpass.migration.scan import java_files
from podpass.migration.scan.limits import Budget
from podpass.migration.scan.model import ScanFailed
from podpass.migration.scan.readers import choose_reader, read_file
from podpass.migration.scan.tar_stream import EntryType, read_entries


def layer(data: bytes) -> None:
    """Read a tar archive: each file that Python's tarfile reads too has the same content."""
    found: dict[str, bytes] = {}
    try:
        for entry in read_entries(BytesIO(data), Budget()):
            parts = entry.path.split("/")
            assert not {".", ".."} & set(parts)
            if entry.type is EntryType.FILE:
                content = b""
                while part := entry.content.read(1000):
                    content += part
                assert len(content) <= len(data)
                found[entry.path] = content
    except ScanFailed:
        return
    try:
        with tarfile.open(fileobj=io.BytesIO(data), errorlevel=2) as tar:
            for member in tar.getmembers():
                content_of = (
                    tar.extractfile(member) if member.type in tarfile.REGULAR_TYPES else None
                )
                if content_of is not None and member.name in found and not member.issparse():
                    assert found[member.name] == content_of.read()
    except (tarfile.TarError, OSError, ValueError, UnicodeError, IndexError):
        return


def jar(data: bytes) -> None:
    """Read a jar: the names are those that Python's zipfile reads."""
    try:
        mentions = list(java_files.read_jar(BytesIO(data)))
    except ScanFailed:
        return
    if not mentions:
        return
    try:
        names = zipfile.ZipFile(BytesIO(data)).namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, struct.error):
        return
    for each in mentions:
        artifact = each.library.partition(":")[2]
        assert any(artifact in name for name in names)


def library_file(data: bytes) -> None:
    """Read a file that may name a library; the first line is its path."""
    path, _, content = data.partition(b"\n")
    name = path.decode("utf-8", "surrogateescape")
    reader = choose_reader(name)
    if reader is None:
        return
    try:
        for each in read_file(name, reader, BytesIO(content)):
            assert len(each.version) <= 200
    except ScanFailed as exc:
        assert exc.message
