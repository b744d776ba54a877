"""The frames of SPDY/3.1, as far as Kubernetes uses them: streams, data, pings. Pure.

kubectl before 1.30, every port-forward and the real API server speak SPDY. Its flow control is not used:
the library of Kubernetes implements none, so a full stream delays its whole connection.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from kubeling.errors import Error

SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY, HEADERS = 1, 2, 3, 6, 7, 8
FIN = 0x01
REFUSED_STREAM, CANCEL = 3, 5
HEAD_BYTES = 8
# A control frame of Kubernetes has about a hundred bytes.
MAX_CONTROL_BYTES = 16 * 1024
_MAX_HEADER_BYTES = 16 * 1024
_VERSION = 0x8003
_ID = 0x7FFFFFFF

# The dictionary of the header compression (SPDY Protocol, draft 3, section 2.6.10.1): names with their
# length, then text without. Both sides must have the same bytes.
_NAMES = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language "
    "accept-ranges age allow authorization cache-control connection content-base content-encoding "
    "content-language content-length content-location content-md5 content-range content-type date "
    "etag expect expires from host if-match if-modified-since if-none-match if-range "
    "if-unmodified-since last-modified location max-forwards pragma proxy-authenticate "
    "proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url "
    "public set-cookie keep-alive origin"
)
_TEXT = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request"
    "401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented"
    "503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 "
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,"
    "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age="
    "gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


_WORDS = [word.replace("_", " ").encode() for word in _NAMES.split()]
_DICTIONARY = b"".join(struct.pack(">I", len(word)) + word for word in _WORDS) + _TEXT.encode()


class SpdyError(Error):
    """A frame that breaks the protocol; the connection is closed."""

    code = "spdy_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHead:
    """The first eight bytes of a frame. `kind` is 0 for a data frame, which has the `stream` in its head."""

    kind: int
    stream: int
    flags: int
    length: int


def parse_head(data: bytes) -> FrameHead:
    """Parse the head of a frame. Raises SpdyError."""
    first, second = struct.unpack(">II", data)
    flags, length = second >> 24, second & 0xFFFFFF
    if not first >> 31:
        return FrameHead(kind=0, stream=first, flags=flags, length=length)
    if first >> 16 != _VERSION:
        raise SpdyError("only version 3 of SPDY is supported")
    if length > MAX_CONTROL_BYTES:
        raise SpdyError("a control frame is too long")
    return FrameHead(kind=first & 0xFFFF, stream=0, flags=flags, length=length)


def data_frame(stream: int, data: bytes, flags: int = 0) -> bytes:
    """Build a data frame of at most 16 MiB."""
    return struct.pack(">II", stream, flags << 24 | len(data)) + data


def control_frame(kind: int, payload: bytes, flags: int = 0) -> bytes:
    """Build a control frame."""
    return struct.pack(">HHI", _VERSION, kind, flags << 24 | len(payload)) + payload


def reset_frame(stream: int, status: int) -> bytes:
    """Build the frame that ends a stream with an error."""
    return control_frame(RST_STREAM, struct.pack(">II", stream, status))


def goaway_frame(last_stream: int) -> bytes:
    """Build the frame that announces the end of the connection."""
    return control_frame(GOAWAY, struct.pack(">II", last_stream, 0))


def parse_stream_id(payload: bytes) -> int:
    """Return the stream that a control frame belongs to. Raises SpdyError."""
    if len(payload) < 4:
        raise SpdyError("a control frame is too short")
    return int.from_bytes(payload[:4], "big") & _ID


class HeaderCodec:
    """Compresses and decompresses the headers of all streams of one connection."""

    def __init__(self) -> None:
        self._compress = zlib.compressobj(zdict=_DICTIONARY)
        self._decompress = zlib.decompressobj(zdict=_DICTIONARY)

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """Compress headers."""
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.encode(), value.encode()):
                block += struct.pack(">I", len(text)) + text
        return self._compress.compress(block) + self._compress.flush(zlib.Z_SYNC_FLUSH)

    def decode(self, data: bytes) -> dict[str, str]:
        """Decompress headers; names are in lower case.

        Raises SpdyError, also for headers of more than 16 KiB.
        """
        try:
            block = self._decompress.decompress(data, _MAX_HEADER_BYTES)
            if self._decompress.unconsumed_tail:
                raise SpdyError("the headers of a stream are too long")
            (count,) = struct.unpack_from(">I", block)
            at, texts = 4, []
            for _ in range(2 * count):
                (size,) = struct.unpack_from(">I", block, at)
                text = block[at + 4 : at + 4 + size]
                if len(text) != size:
                    raise SpdyError("the headers of a stream are malformed")
                texts.append(text.decode())
                at += 4 + size
            return dict(zip((name.lower() for name in texts[::2]), texts[1::2], strict=True))
        except (zlib.error, struct.error, UnicodeDecodeError) as exc:
            raise SpdyError("the headers of a stream are malformed") from exc
