"""Read a tar archive as a stream: paths, types and contents, with limits.

Python's `tarfile` reads extended headers of any size into memory, so it is not safe for untrusted content.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from podpass.migration.scan.limits import MAX_HEADER_BYTES, MIB, Budget, read_limited
from podpass.migration.scan.model import ContentStream, LimitExceeded, ScanFailed

_BLOCK = 512
_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_MAX_HEADERS = 16


class EntryType(Enum):
    """The types of entries; devices, sockets and pipes are OTHER."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


_TYPES = {
    b"0": EntryType.FILE,
    b"\0": EntryType.FILE,
    b"7": EntryType.FILE,
    b"1": EntryType.LINK,
    b"2": EntryType.LINK,
    b"5": EntryType.FOLDER,
}


class InvalidArchive(ScanFailed):
    """A tar archive is damaged."""

    code = "invalid_archive"
    hint = "save the image again"


class Content:
    """The content of the current entry."""

    def __init__(self, stream: ContentStream, size: int) -> None:
        self._stream, self.left = stream, size
        self._padding = -size % _BLOCK

    def read(self, size: int = -1, /) -> bytes:
        wanted = self.left if size < 0 else min(size, self.left)
        data = self._stream.read(min(wanted, MIB))
        if wanted and not data:
            raise InvalidArchive("an archive ends within a file")
        self.left -= len(data)
        return data

    def skip(self) -> None:
        """Read the rest of the content, so that the stream is at the next entry."""
        while self.left:
            self.read(MIB)
        left = self._padding
        while left and (data := self._stream.read(left)):
            left -= len(data)
        self._padding = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, folder or link; `path` has neither a leading `/` or `./` nor a final `/`."""

    path: str
    type: EntryType
    content: Content


def read_entries(stream: ContentStream, budget: Budget) -> Iterator[Entry]:
    """Yield the entries of an archive; the content of one must be read before the next.

    Raises InvalidArchive, LimitExceeded.
    """
    name, size, headers = "", -1, 0
    while (block := _read_block(stream)) is not None:
        kind = block[156:157]
        content = Content(stream, _parse_number(block[124:136]))
        if kind in (_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK):
            headers += 1
            if headers > _MAX_HEADERS:
                raise LimitExceeded("an archive has too many extended headers for one file")
            text = read_limited(content, MAX_HEADER_BYTES)
            if text is None:
                raise LimitExceeded(
                    f"an archive has a header of more than {MAX_HEADER_BYTES} bytes"
                )
            content.skip()
            if kind == _LONG_NAME:
                name = text.rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif kind == _EXTENDED:
                fields = _parse_extended(text)
                name, size = fields.get("path", name), int(fields.get("size", size))
            continue
        path = _clean_path(name or _short_name(block))
        if size >= 0:
            content = Content(stream, size)
        name, size, headers = "", -1, 0
        budget.charge_name(path)
        if _has_no_content(kind):
            content = Content(stream, 0)
        yield Entry(path=path, type=_TYPES.get(kind, EntryType.OTHER), content=content)
        content.skip()


def _has_no_content(kind: bytes) -> bool:
    """Return whether an entry has a header only: links and folders may give the size of their target."""
    return kind in (b"1", b"2", b"3", b"4", b"5", b"6")


def _read_block(stream: ContentStream) -> bytes | None:
    """Return the next header; None at the end of the archive."""
    block = b""
    while len(block) < _BLOCK and (data := stream.read(_BLOCK - len(block))):
        block += data
    if not block.strip(b"\0"):
        return None
    if len(block) < _BLOCK:
        raise InvalidArchive("an archive ends within a header")
    expected = sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")
    if _parse_number(block[148:156]) != expected:
        raise InvalidArchive("an archive has an invalid header")
    return block


def _parse_number(field: bytes) -> int:
    """Parse octal digits, or a binary number with the highest bit set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    else:
        digits = field.split(b"\0", 1)[0].strip()
        if digits.strip(b"01234567"):
            raise InvalidArchive("an archive has an invalid number")
        value = int(digits or b"0", 8)
    if value >= 1 << 60:
        raise InvalidArchive("an archive has an invalid size")
    return value


def _short_name(block: bytes) -> str:
    name, prefix = block[:100].split(b"\0", 1)[0], b""
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].split(b"\0", 1)[0]
    full = prefix + b"/" + name if prefix else name
    return full.decode("utf-8", "surrogateescape")


def _parse_extended(text: bytes) -> dict[str, str]:
    """Parse records `LENGTH KEY=VALUE`, each with a newline at its end; return path and size."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        digits = text[at : at + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        if not len(digits) < length <= len(text) - at:
            raise InvalidArchive("an archive has an invalid extended header")
        record = text[at + len(digits) + 1 : at + length]
        at += length
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        if key == b"path":
            found["path"] = value.decode("utf-8", "surrogateescape")
        elif key == b"size":
            if not value.isdigit() or len(value) > 18:
                raise InvalidArchive("an archive has an invalid size")
            found["size"] = value.decode()
    return found


def _clean_path(path: str) -> str:
    """Return the path without empty, `.` and `..` parts; no file is opened by it."""
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))
