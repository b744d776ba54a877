"""A complete response, and its bytes in HTTP/1.1. Pure."""

from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from podpass.http.request_validation import Headers


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response.

    Header names in lower case; `serialize` adds `content-length`.
    """

    status: int
    headers: Headers
    body: bytes


def serialize(reply: Reply, *, keep_alive: bool) -> bytes:
    """Return the bytes of a response. Raises RuntimeError if a header contains a line break."""
    lines = [STATUS_LINE[reply.status][:-2], *map(b": ".join, reply.headers)]
    lines.append(b"content-length: %d" % len(reply.body))
    if not keep_alive:
        lines.append(b"connection: close")
    head = b"\r\n".join(lines)
    # A line break in a value would let its sender add a header.
    if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
        raise RuntimeError("a header of a response contains a line break")
    return b"%b\r\n\r\n%b" % (head, reply.body)
