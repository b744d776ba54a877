"""Limits of a scan. The content of an image is chosen by its author, so each kind of work has one."""

import sys
from dataclasses import dataclass

from podpass.migration.scan.model import ContentStream, LimitExceeded

MIB = 1024 * 1024

MAX_PATH_CHARS = 4096
MAX_DEPTH = 128
MAX_NAMES_BYTES = 64 * MIB
MAX_JSON_BYTES = 4 * MIB
MAX_JSON_VALUES = 250_000
MAX_TEXT_BYTES = 4 * MIB
MAX_HEADER_BYTES = 64 * 1024
MAX_JAR_BYTES = 256 * MIB
MAX_TOTAL_BYTES = 32 * 1024 * MIB
MAX_RATIO = 200
MAX_LAYERS = 256
MAX_FINDINGS = 2_000
# Small files compress well, so the ratio is not checked below this size.
_RATIO_FLOOR_BYTES = 64 * MIB
_CHARGE_PER_NAME = 64
_SIZE_OF_STR = sys.getsizeof("")


@dataclass(slots=True)
class Budget:
    """The remaining limits of one run."""

    names: int = MAX_NAMES_BYTES
    total: int = MAX_TOTAL_BYTES
    findings: int = MAX_FINDINGS

    def charge_name(self, path: str) -> None:
        """Count a file. Raises LimitExceeded."""
        # The bytes in memory: one wide character makes all characters of a text wide.
        self.names -= max(len(path), sys.getsizeof(path) - _SIZE_OF_STR) + _CHARGE_PER_NAME
        if self.names < 0:
            raise LimitExceeded(f"the names of all files have more than {MAX_NAMES_BYTES} bytes")

    def charge_bytes(self, count: int) -> None:
        """Count content that was read or decompressed. Raises LimitExceeded."""
        self.total -= count
        if self.total < 0:
            raise LimitExceeded(f"the content has more than {MAX_TOTAL_BYTES} bytes")

    def charge_finding(self) -> None:
        """Count a mention of a library. Raises LimitExceeded."""
        self.findings -= 1
        if self.findings < 0:
            raise LimitExceeded(f"more than {MAX_FINDINGS} files name an identity library")


def is_path_allowed(path: str) -> bool:
    """Return whether a path is within the limits of length and depth."""
    return len(path) <= MAX_PATH_CHARS and path.count("/") <= MAX_DEPTH


def check_ratio(compressed: int, content: int) -> None:
    """Refuse content with a higher compression ratio than real files have. Raises LimitExceeded."""
    if content > _RATIO_FLOOR_BYTES and content > compressed * MAX_RATIO:
        raise LimitExceeded(f"a layer expands to more than {MAX_RATIO} times its size")


def has_too_many_values(data: bytes) -> bool:
    """Return whether a JSON text may have more values than the limit; each of them takes memory.

    The characters that begin or separate values are counted, in texts too, so a text may have fewer.
    """
    return sum(map(data.count, (b",", b"[", b"{"))) > MAX_JSON_VALUES


def read_limited(stream: ContentStream, limit: int) -> bytes | None:
    """Read a whole stream; None if it has more than `limit` bytes."""
    parts, count = [], 0
    while part := stream.read(min(MIB, limit + 1 - count)):
        parts.append(part)
        count += len(part)
        if count > limit:
            return None
    return b"".join(parts)
