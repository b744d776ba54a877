"""Relay TCP connections from listening sockets to addresses that are chosen for each connection."""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

from kubeling.tasks import cancel_all


class Shares:
    """What is free of a total of connections or queries, and what each source holds of it.

    A source may take more while it holds at most what is free. So one source alone gets a half, N sources
    that take all they can get one part of N + 1 each, and as much stays free for the next source.

    Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998).
    """

    def __init__(self, total: int) -> None:
        self._free, self._held = total, Counter[str]()

    @contextlib.contextmanager
    def hold(self, source: str) -> Iterator[bool]:
        """Hold one for a source until the context ends; yield false if the source has used its share."""
        if self._held[source] + 1 > self._free:
            yield False
            return
        self._held[source] += 1
        self._free -= 1
        try:
            yield True
        finally:
            self._free += 1
            self._held[source] -= 1
            if not self._held[source]:
                del self._held[source]


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[socket.socket], Awaitable[Stream]]
"""Gets the accepted connection; connects to its target. Raises OSError."""

_CHUNK = 64 * 1024
_RESET = struct.pack("ii", 1, 0)


class Relay:
    """Listening sockets and their connections, which share `max_connections` by the address of the client."""

    def __init__(self, max_connections: int) -> None:
        self._shares = Shares(max_connections)
        self._connections: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    async def serve(self, sock: socket.socket, connect: Connect) -> asyncio.Server:
        """Relay the connections of a socket from now on, until its server or this relay is closed."""
        handle = partial(self._handle, connect)
        server = await asyncio.start_server(handle, sock=sock, limit=_CHUNK)
        self._servers = [*(each for each in self._servers if each.is_serving()), server]
        return server

    async def close(self) -> None:
        """Close all sockets and connections."""
        for server in self._servers:
            server.close()
        await cancel_all(self._connections)

    async def _handle(
        self, connect: Connect, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        with self._shares.hold(client_address(writer)) as has_share:
            if not has_share:
                writer.transport.abort()
                return
            self._connections.add(task)
            try:
                await _relay((reader, writer), connect)
            finally:
                self._connections.discard(task)


def client_address(writer: asyncio.StreamWriter) -> str:
    """Return the address of the client of a connection; empty if it has closed the connection."""
    return str((writer.get_extra_info("peername") or [""])[0])


async def _relay(client: Stream, connect: Connect) -> None:
    """Pass data between a client and its target, until one of them closes."""
    writers = [client[1]]
    accepted = client[1].get_extra_info("socket")
    try:
        try:
            target = await connect(accepted)
        except OSError:
            # Reset the connection: the client gets an error, as without a relay, and not an empty response.
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return
        writers.append(target[1])
        with contextlib.suppress(OSError):
            await asyncio.gather(_copy(client[0], target[1]), _copy(target[0], client[1]))
    finally:
        for writer in writers:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
