"""A replacement of kube-proxy for one Service: it forwards connections round robin to the replicas.

A real API server connects to a Service's cluster IP. With addresses of 127.0.0.0/8 (see
`plane.SERVICE_ADDRESSES`) a listener on this machine can have this address without firewall rules; ports
below 1024 need root or `net.ipv4.ip_unprivileged_port_start`.
"""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

Endpoint = tuple[str, int]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK = 65536


class ServiceProxy:
    """A listener that forwards connections to `endpoints`, round robin, and skips those that refuse.

    `endpoints` may change at any time, like the EndpointSlice that kube-proxy reads.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = list(endpoints)
        self.connections: dict[Endpoint, int] = {}
        self._turn = itertools.count()
        self._open: set[asyncio.StreamWriter] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if there := await self._dial():
                await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
        finally:
            writer.close()
            self._open.discard(writer)

    def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _dial(self) -> Streams | None:
        there = self.endpoints  # tests replace the list and never change it
        for _ in range(len(there)):
            one = there[next(self._turn) % len(there)]
            with contextlib.suppress(OSError):
                streams = await asyncio.open_connection(*one)
                self.connections[one] = self.connections.get(one, 0) + 1
                return streams
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


@asynccontextmanager
async def run_service_proxy(
    endpoints: Sequence[Endpoint], address: str, port: int
) -> AsyncIterator[ServiceProxy]:
    """Listen on a Service's cluster IP and port; port 0 selects a free port."""
    service = ServiceProxy(endpoints)
    server = await asyncio.start_server(service.connected, address, port, family=socket.AF_INET)
    async with server:
        yield service
        service.close()
