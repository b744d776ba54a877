"""Limits on the requests of one server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on the size and duration of a request; the duration of a response is not limited.

    Shapes:  `head_bytes` also limits the trailer of a chunked body.
    Units:   `head_seconds` from the start of a connection, or from the first byte of a later request, to the
             end of the request's head; `body_seconds` between two reads of the body, and for the complete
             body plus one second for each `body_rate` bytes; `connections` is the number of concurrent
             connections.
    """

    head_bytes: int = 64 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_rate: float = 1024.0
    connections: int = 4096


LIMITS = Limits()
