"""Which heads of requests are refused, since we and a proxy before us could take them differently. Pure.

Two readers who see other bodies see other requests in one stream: an answer then reaches the wrong client.
"""

import re
from collections.abc import Sequence

Headers = Sequence[tuple[bytes, bytes]]


def _refusal(status: bytes, why: bytes) -> bytes:
    head = b"content-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close"
    return b"HTTP/1.1 %b\r\n%b\r\n\r\n%b\n" % (status, head % (len(why) + 1), why)


_UPGRADE = _refusal(b"400 Bad Request", b"send no body with a wish for another protocol")
_HOSTS = _refusal(b"400 Bad Request", b"send one Host header, and one alone")
_NO_HOST = _refusal(
    b"400 Bad Request", b"send a host in Host: a name or an address, a port at most"
)
_CODING = _refusal(b"501 Not Implemented", b"send the body as it is, or in chunks")
# RFC 9112 section 3.2 and RFC 3986 section 3.2.2, but for the comma, by which a proxy may have joined two
# hosts, and for addresses of versions yet to come. It is empty where the target has no host; a zone is no
# server's business, but some clients send it.
_LETTERS = rb"[A-Za-z0-9._~!$&'()*+;=-]*"
_NAME = rb"%b(?:%%[0-9A-Fa-f]{2}%b)*" % (_LETTERS, _LETTERS)
_ADDRESS = rb"\[[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,40}(?:%[A-Za-z0-9._~-]{1,40})?\]"
_HOST = re.compile(rb"(?:%b|%b)(?::[0-9]{0,5})?" % (_NAME, _ADDRESS))


def objection(headers: Headers, version: str, *, upgrades: bool) -> bytes:
    """Give the whole answer to a head that is ambiguous, and nothing to one that is not.

    Shapes:  header names in lower case; `upgrades` tells whether the client wishes for another protocol.
    """
    fields = [name for name, _ in headers]
    has_coding = b"transfer-encoding" in fields
    if upgrades and (has_coding or _has_length(headers)):
        # The parser stops here, so the body would be read as a request of its own, and every answer
        # after it would reach the wrong client of a proxy that goes by lengths.
        return _UPGRADE
    if fields.count(b"host") != 1 and (b"host" in fields or version == "1.1"):
        # Hosts choose vaults and documents, and of two the proxy may go by the other.
        return _HOSTS
    if b"host" in fields and not _HOST.fullmatch(headers[fields.index(b"host")][1]):
        # Of `a@b` or `a/b` one reader takes the first part, and another the second or the whole.
        return _NO_HOST
    if has_coding and not _is_chunked(headers):
        # A proxy that gives up at a coding we pass over, or takes the first of two, sees another body.
        return _CODING
    return b""


def _has_length(headers: Headers) -> bool:
    return any(name == b"content-length" and value != b"0" for name, value in headers)


def _is_chunked(headers: Headers) -> bool:
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    return len(codings) == 1 and codings[0].strip().lower() == b"chunked"
