"""Refuse request heads that this server and a proxy in front of it could read differently. Pure.

If two parsers disagree on where a body ends, they see different requests in one stream, and a response
reaches the wrong client (request smuggling, RFC 9112 section 11.2).
"""

import re
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]


def _refusal(status: bytes, why: bytes) -> bytes:
    head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close"
    return b"HTTP/1.1 %b\r\n%b\r\n\r\n%b\n" % (status, head % (len(why) + 1), why)


_UPGRADE = _refusal(b"400 Bad Request", b"a request with an Upgrade header must not have a body")
_HOSTS = _refusal(b"400 Bad Request", b"send exactly one Host header")
_NO_HOST = _refusal(
    b"400 Bad Request", b"the Host header must be a name or an address, with an optional port"
)
TOO_LONG = _refusal(
    b"431 Request Header Fields Too Large", b"the head has too many bytes or too many headers"
)
_CODING = _refusal(b"501 Not Implemented", b"the only supported transfer coding is chunked")
# RFC 9112 section 3.2 and RFC 3986 section 3.2.2, without the comma, with which a proxy may have joined two
# hosts, and without IPvFuture. Host is empty if the target has no host. Some clients send an IPv6 zone.
_LETTERS = rb"[A-Za-z0-9._~!$&'()*+;=-]*"
_NAME = rb"%b(?:%%[0-9A-Fa-f]{2}%b)*" % (_LETTERS, _LETTERS)
_ADDRESS = rb"\[[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,40}(?:%[A-Za-z0-9._~-]{1,40})?\]"
_HOST = re.compile(rb"(?:%b|%b)(?::[0-9]{0,5})?" % (_NAME, _ADDRESS))


def reject_ambiguous_framing(headers: Headers, version: str, *, upgrades: bool) -> bytes:
    """Return the complete error response to an ambiguous head, or an empty one if the head is valid.

    Header names in lower case; `upgrades` says whether the client requests another protocol.
    """
    fields = [name for name, _ in headers]
    has_coding = b"transfer-encoding" in fields
    if upgrades and (has_coding or _has_length(headers)):
        # The parser stops here, so it would read the body as another request. A proxy that uses the length
        # would then send each later response to the wrong client.
        return _UPGRADE
    if fields.count(b"host") != 1 and (b"host" in fields or version == "1.1"):
        # The host selects vaults and documents. If there are two hosts, a proxy may use the other one.
        return _HOSTS
    if b"host" in fields and not _HOST.fullmatch(headers[fields.index(b"host")][1]):
        # Parsers disagree on the host in `a@b` or `a/b`.
        return _NO_HOST
    if has_coding and not _is_chunked(headers):
        # A proxy may reject a coding that this parser ignores, or use the first of two codings; then it reads
        # another body.
        return _CODING
    return b""


def _has_length(headers: Headers) -> bool:
    return any(name == b"content-length" and value != b"0" for name, value in headers)


def _is_chunked(headers: Headers) -> bool:
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    return len(codings) == 1 and codings[0].strip().lower() == b"chunked"
