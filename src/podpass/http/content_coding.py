"""Decode compressed request bodies within limits. Pure.

The limits hold while a body is decoded, so that neither a body that expands (a decompression bomb) nor one
that makes the decoder work without output costs more than a plain body of the same limit.

Source:  RFC 9110 section 8.4, RFC 1950, RFC 1952.
"""

import zlib
from collections.abc import Iterable

from podpass.errors import Error
from podpass.http.request_validation import Headers

# zlib's `wbits`: 15 is the largest window, 16 more reads a gzip header.
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
ACCEPTED = "gzip, deflate"
# JSON compresses to about a tenth. A small body may compress further: a secret of one repeated character.
MAX_RATIO = 100
UNLIMITED_RATIO_BYTES = 64 * 1024
# A block costs the decoder a table even if it is empty. Compressed data grows only by a header and a few
# bytes for each block, so a valid body is not longer than its decoded form by more than this.
MAX_OVERHEAD_BYTES = 8 * 1024
_PIECE_BYTES = 4 * 1024


class BodyRefused(Error):
    """A request body is refused; `headers` belong to the response."""

    headers: Headers = ()


class BodyTooLarge(BodyRefused):
    """A request body is larger than its limit."""

    code = "body_too_large"
    status = 413


class UnsupportedCoding(BodyRefused):
    """A request body has a content coding that is not supported."""

    code = "unsupported_content_coding"
    status = 415
    headers = ((b"accept-encoding", ACCEPTED.encode()),)


class InvalidCoding(BodyRefused):
    """A request body is not valid in its content coding."""

    code = "invalid_content_coding"
    status = 400


def parse_coding(values: Iterable[str]) -> str:
    """Return the coding that the Content-Encoding headers name; empty for a plain body.

    Raises UnsupportedCoding, also for several codings: each would be another chance to expand.
    """
    names = [name.strip().lower() for value in values for name in value.split(",")]
    codings = [name for name in names if name not in ("", "identity")]
    if len(codings) > 1 or any(name not in _WINDOW_BITS for name in codings):
        raise UnsupportedCoding(
            f"the content coding of the body is not supported; send it plain or with one of {ACCEPTED}"
        )
    return codings[0] if codings else ""


def decode(coding: str, body: bytes, limit: int) -> bytes:
    """Decode a body into at most `limit` bytes; `coding` is empty for a plain body.

    Raises BodyTooLarge, InvalidCoding.
    """
    # Clients name a coding in requests without a body too.
    if not coding or not body:
        return body
    try:
        return _inflate(zlib.decompressobj(_WINDOW_BITS[coding]), body, limit)
    except zlib.error as exc:
        raise InvalidCoding(f"the body is not valid {coding}") from exc


def _inflate(decoder: "zlib._Decompress", body: bytes, limit: int) -> bytes:
    most = min(limit, max(UNLIMITED_RATIO_BYTES, MAX_RATIO * len(body)))
    parts, size, position = [], 0, 0
    while not decoder.eof:
        if position >= len(body):
            raise InvalidCoding("the body ends before its compressed data is complete")
        if position > size + MAX_OVERHEAD_BYTES:
            raise InvalidCoding("the compressed body is longer than its content")
        piece = body[position : position + _PIECE_BYTES]
        position += len(piece)
        # One byte more than allowed shows that the limit is exceeded, without decoding the rest.
        parts.append(decoder.decompress(piece, most - size + 1))
        size += len(parts[-1])
        if size > most:
            raise _too_large(most, limit)
    # A second member could be empty, and a body of thousands of them would be copied for each.
    if decoder.unused_data or position < len(body):
        raise InvalidCoding("the body has data after the end of its compressed data")
    return b"".join(parts)


def _too_large(most: int, limit: int) -> BodyTooLarge:
    if most < limit:
        return BodyTooLarge(f"the decoded body is over {MAX_RATIO} times its size", limit=most)
    return BodyTooLarge(f"the decoded body is longer than {limit} bytes", limit=limit)
