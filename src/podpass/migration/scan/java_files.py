"""Java: jars, also within other archives, pom.xml and the files of Gradle.

A jar is read by its central directory, without Python's `zipfile`, which creates an object for each entry.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from podpass.migration.scan.decision import JAVA, known_libraries
from podpass.migration.scan.limits import MAX_TEXT_BYTES, MIB
from podpass.migration.scan.model import LimitExceeded, Mention, Precision

_ARTIFACTS = {each.partition(":")[2]: each for each in known_libraries(JAVA)}
_BY_ID = {each: each for each in known_libraries(JAVA)}
_NAMES = "|".join(map(re.escape, sorted(_ARTIFACTS)))
_JAR_NAME = re.compile(rf"(?:.*/)?({_NAMES})-(\d[\w.+-]{{0,64}})\.jar", re.DOTALL)
_PROPERTIES = re.compile(rf"META-INF/maven/([\w.]{{1,100}})/({_NAMES})/pom\.properties")
_POM = re.compile(
    rf"<artifactId>\s{{0,20}}({_NAMES})\s{{0,20}}</artifactId>\s{{0,200}}"
    r"(?:<version>\s{0,20}([^<\s]{1,64})\s{0,20}</version>)?"
)
_PROPERTY = re.compile(r"<([\w.-]{1,64})>\s{0,20}([^<>\s]{1,64})\s{0,20}</")
_GRADLE = re.compile(
    "(" + "|".join(map(re.escape, sorted(_BY_ID))) + r")(?::(\d[\w.+-]{0,64}))?(?=[\"'=\s@)]|$)"
)
_END_OF_DIRECTORY = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 65535
_MAX_DIRECTORY_BYTES = 32 * MIB
_MAX_PROPERTIES_BYTES = 64 * 1024
_MAX_PROPERTIES_FILES = 64
_ZIP64 = 0xFFFFFFFF


def mention_of_jar(path: str) -> Iterator[Mention]:
    """Read the version from the name of a jar."""
    if found := _JAR_NAME.fullmatch(path):
        yield Mention(JAVA, _ARTIFACTS[found[1]], found[2])


def read_jar(file: BinaryIO) -> Iterator[Mention]:
    """Read the names of nested jars, and the Maven properties of libraries that were merged into a jar."""
    properties = 0
    for name, offset, compressed in _list_entries(file):
        yield from mention_of_jar(name)
        if found := _PROPERTIES.fullmatch(name):
            properties += 1
            if properties > _MAX_PROPERTIES_FILES:
                raise LimitExceeded(
                    f"a jar has more than {_MAX_PROPERTIES_FILES} versions of a library"
                )
            content = _read_entry(file, offset, compressed).decode("utf-8", "replace")
            version = re.search(r"^version=([\w.+-]{1,64})\s*$", content, re.MULTILINE)
            library = _BY_ID.get(f"{found[1]}:{found[2]}")
            if library and version:
                yield Mention(JAVA, library, version[1])


def _list_entries(file: BinaryIO) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and compressed size of the entries; nothing if the file is not a jar."""
    size = file.seek(0, 2)
    tail_at = max(0, size - _END_OF_DIRECTORY.size - _MAX_COMMENT)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END_OF_DIRECTORY.size:
        return
    _, _, _, _, _, length, start, _ = _END_OF_DIRECTORY.unpack_from(tail, at)
    if length > _MAX_DIRECTORY_BYTES or start == _ZIP64:
        raise LimitExceeded("the central directory of a jar is too large")
    # Bytes before the archive, such as a start script, move all offsets.
    shift = tail_at + at - length - start
    if shift < 0:
        return
    file.seek(start + shift)
    directory = file.read(length)
    at = 0
    while at + _ENTRY.size <= len(directory):
        entry = _ENTRY.unpack_from(directory, at)
        if entry[0] != b"PK\x01\x02":
            return
        name_size, extra_size, comment_size = entry[10:13]
        # A name ends at a NUL, as for Python's `zipfile`.
        name = directory[at + _ENTRY.size : at + _ENTRY.size + name_size].partition(b"\0")[0]
        yield name.decode("utf-8", "replace"), entry[16] + shift, entry[8]
        at += _ENTRY.size + name_size + extra_size + comment_size


def _read_entry(file: BinaryIO, offset: int, compressed: int) -> bytes:
    """Return the beginning of an entry's content."""
    file.seek(offset)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\x03\x04"):
        return b""
    local = _LOCAL.unpack(header)
    file.seek(local[9] + local[10], 1)
    data = file.read(min(compressed, MAX_TEXT_BYTES))
    if local[3] == 0:
        return data[:_MAX_PROPERTIES_BYTES]
    try:
        return zlib.decompressobj(-15).decompress(data, _MAX_PROPERTIES_BYTES)
    except zlib.error:
        return b""


def read_pom(data: bytes) -> Iterator[Mention]:
    """Read pom.xml: artifacts with a version, a property, or a version from elsewhere."""
    text = data.decode("utf-8", "replace")
    properties = dict(_PROPERTY.findall(text))
    for artifact, wanted in _POM.findall(text):
        version = properties.get(wanted[2:-1], "") if wanted.startswith("${") else wanted
        precision = Precision.EXACT if version else Precision.UNKNOWN
        yield Mention(JAVA, _ARTIFACTS[artifact], version, precision)


def read_gradle(data: bytes) -> Iterator[Mention]:
    """Read build.gradle, build.gradle.kts or gradle.lockfile."""
    for library, version in _GRADLE.findall(data.decode("utf-8", "replace")):
        yield Mention(JAVA, library, version, Precision.EXACT if version else Precision.UNKNOWN)
