"""Request bodies in content codings: valid ones, and attacks. Every API must answer each in the same way."""

import gzip
import zlib
from collections.abc import Callable

import pytest

CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
}
# Larger than the limit of every API; its compressed form is a few kilobytes.
BOMB = gzip.compress(bytes(8 * 1024 * 1024))
# Header of gzip, and then stored blocks without content: work without output.
EMPTY_BLOCKS = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 8_000
# Content coding, body, status. The names are fixed: the bytes of gzip contain the time.
REFUSED = (
    pytest.param("br", b"{}", 415, id="unknown coding"),
    pytest.param("gzip, gzip", gzip.compress(gzip.compress(b"{}")), 415, id="two codings"),
    pytest.param("gzip", BOMB, 413, id="bomb"),
    pytest.param("gzip", EMPTY_BLOCKS, 400, id="empty blocks"),
    pytest.param("gzip", gzip.compress(b"{}")[:-4], 400, id="truncated"),
    pytest.param("gzip", gzip.compress(b"{") + gzip.compress(b"}"), 400, id="two members"),
    pytest.param("gzip", b"{}", 400, id="plain"),
    pytest.param("deflate", gzip.compress(b"{}"), 400, id="gzip as deflate"),
)
ACCEPTED = "gzip, deflate"
