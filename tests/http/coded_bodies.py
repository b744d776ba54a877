"""Request bodies in content codings: valid ones, and attacks. Every API must answer each in the same way."""

import gzip
import zlib
from collections.abc import Callable

CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
}
# Larger than the limit of every API; its compressed form is a few kilobytes.
BOMB = gzip.compress(bytes(8 * 1024 * 1024))
# Header of gzip, and then stored blocks without content: work without output.
EMPTY_BLOCKS = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 8_000
# Content coding, body, status.
REFUSED = (
    ("br", b"{}", 415),
    ("gzip, gzip", gzip.compress(gzip.compress(b"{}")), 415),
    ("gzip", BOMB, 413),
    ("gzip", EMPTY_BLOCKS, 400),
    ("gzip", gzip.compress(b"{}")[:-4], 400),
    ("gzip", gzip.compress(b"{") + gzip.compress(b"}"), 400),
    ("gzip", b"{}", 400),
    ("deflate", gzip.compress(b"{}"), 400),
)
ACCEPTED = "gzip, deflate"
