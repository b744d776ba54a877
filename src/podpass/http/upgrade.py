"""Give the bytes of a connection to the application after a response 101 (RFC 9110, section 7.8).

The connection offers an `Upgrade` in the scope of each request with an Upgrade header. An application that
does not accept it sends an ordinary response, and the connection is closed after that.
"""

import asyncio
import contextlib
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Self

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from podpass.http.request_validation import Headers

EXTENSION = "http.upgrade"
# Reading stops at twice this size until the application reads.
BUFFER_BYTES = 64 * 1024
_CLOSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ByteStream:
    """Both directions of a connection; use it as a context, which closes the connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Send what was written, then close; a peer that does not read is disconnected after a second."""
        self.writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.writer.wait_closed()
        self.writer.transport.abort()


class Upgrade:
    """The offer to continue a connection with another protocol.

    `on_lost` is called when the upgraded connection ends.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        cycle: RequestResponseCycle,
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        self._transport, self._cycle, self._on_lost = transport, cycle, on_lost
        self._early = bytearray()
        self.is_accepted = False

    def __repr__(self) -> str:
        return "Upgrade()"

    def add_early(self, data: bytes) -> None:
        """Buffer bytes received before the response 101; disconnect above the limit."""
        self._early += data
        if len(self._early) > BUFFER_BYTES:
            self._transport.abort()

    def accept(self, headers: Headers) -> ByteStream:
        """Send the response 101 and return the connection; the application then closes it."""
        self.is_accepted = True
        self._cycle.disconnected = True  # uvicorn sends nothing more for this request
        self._cycle.flow.resume_reading()
        reader = asyncio.StreamReader(limit=BUFFER_BYTES)
        protocol = _UpgradedProtocol(reader, self._on_lost)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        writer = asyncio.StreamWriter(self._transport, protocol, reader, asyncio.get_running_loop())
        lines = [b"HTTP/1.1 101 Switching Protocols"]
        lines += [name + b": " + value for name, value in headers]
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
        if self._early:
            reader.feed_data(bytes(self._early))
        if self._transport.is_closing():
            reader.feed_eof()
        return ByteStream(reader, writer)


class _UpgradedProtocol(asyncio.StreamReaderProtocol):
    """The protocol of an upgraded connection, which reports its end to the protocol that it replaced."""

    def __init__(
        self, reader: asyncio.StreamReader, on_lost: Callable[[Exception | None], None]
    ) -> None:
        super().__init__(reader)
        self._on_lost = on_lost

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._on_lost(exc)


def offered_upgrade(scope: MutableMapping[str, Any]) -> Upgrade | None:
    """Return the offer in the scope of a request; None if the client requests no other protocol."""
    return (scope.get("extensions") or {}).get(EXTENSION)
