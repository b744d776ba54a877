"""Read a layer as an uncompressed tar archive, within the limits."""

import zlib

from podpass.migration.scan.image_parts import GZIP, ZSTD, NotAnImage
from podpass.migration.scan.limits import MIB, Budget, check_ratio
from podpass.migration.scan.model import ContentStream

_CHARGE_PER_MEMBER = 4096


def decompress_layer(name: str, stream: ContentStream, budget: Budget) -> ContentStream:
    """Return the content of a layer. Raises NotAnImage if it is compressed in another way than by gzip."""
    start = stream.read(4)
    if start == ZSTD:
        raise NotAnImage(
            f"the layer {name[:100]!r} is compressed with zstd, which is not supported",
            hint="save the image with gzip: skopeo copy --dest-compress-format gzip"
            " docker://IMAGE oci:FOLDER",
        )
    if start.startswith(GZIP):
        return _GzipLayer(start, stream, budget)
    return _PlainLayer(start, stream, budget)


class _PlainLayer:
    """A stream whose beginning has been read, and whose bytes count towards the limits."""

    def __init__(self, start: bytes, stream: ContentStream, budget: Budget) -> None:
        self._start, self._stream, self._budget = start, stream, budget

    def read(self, size: int = -1, /) -> bytes:
        if self._start and size:
            data, self._start = self._start[:size], self._start[size:]
        else:
            data = self._stream.read(min(size, MIB) if size >= 0 else MIB)
        self._budget.charge_bytes(len(data))
        return data


class _GzipLayer:
    """Decompresses a layer, with limits for its size and its ratio."""

    def __init__(self, start: bytes, stream: ContentStream, budget: Budget) -> None:
        self._stream, self._budget = stream, budget
        self._decoder = zlib.decompressobj(31)
        # Entries of an archive are read in small parts: the buffer is not copied for each.
        self._input, self._buffer, self._at = start, b"", 0
        self._compressed, self._content = len(start), 0

    def read(self, size: int = -1, /) -> bytes:
        wanted = min(size, MIB) if size >= 0 else MIB
        while self._at == len(self._buffer) and self._fill():
            pass
        data = self._buffer[self._at : self._at + wanted]
        self._at += len(data)
        return data

    def _fill(self) -> bool:
        """Replace the empty buffer by at most one MiB more; return False at the end."""
        if not self._input:
            self._input = self._stream.read(64 * 1024)
            self._compressed += len(self._input)
            if not self._input:
                return False
        if self._decoder.eof:  # a gzip file may have several members
            self._decoder = zlib.decompressobj(31)
            # A member may be empty. Each one counts, because a file of empty members takes only time.
            self._budget.charge_bytes(_CHARGE_PER_MEMBER)
        try:
            data = self._decoder.decompress(self._input, MIB)
        except zlib.error as exc:
            raise NotAnImage("a layer is not valid gzip") from exc
        self._input = (
            self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
        )
        self._content += len(data)
        self._budget.charge_bytes(len(data))
        check_ratio(self._compressed, self._content)
        self._buffer, self._at = data, 0
        return True
