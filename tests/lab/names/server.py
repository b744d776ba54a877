"""A resolver of the cloud on loopback, and a client for it."""

import asyncio
import ipaddress
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import dns.asyncquery
import dns.message

from podpass.lab.names import resolver
from podpass.lab.names.messages import Address
from tests.lab.names.corefiles import SERVED

ADDRESSES = [ipaddress.ip_address("10.96.7.7"), ipaddress.ip_address("fd00::77")]
HOST = "127.0.0.1"


@dataclass
class Cloud:
    """A resolver that runs, and the vaults that exist."""

    host: str = HOST
    port: int = 0
    vaults: set[str] = field(default_factory=set)
    fails: bool = False
    waits: asyncio.Event | None = None
    upstream: resolver.Upstream | None = None
    addresses: Sequence[Address] = tuple(ADDRESSES)
    loops: bool = False
    answer_name: resolver.AnswerName | None = None
    reserved: Sequence[str] = ()
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def has_host(self, name: str) -> bool:
        if self.waits is not None:
            await self.waits.wait()
        if self.fails and name.endswith(".vault.azure.net"):
            raise RuntimeError("the database is unavailable")
        label, _, parent = name.partition(".")
        return parent != "vault.azure.net" or label in self.vaults

    async def ask(
        self,
        name: str,
        kind: str = "A",
        *,
        tcp: bool = False,
        edns: int = -1,
        rdclass: str = "IN",
        source: str | None = None,
    ) -> dns.message.Message:
        query = dns.message.make_query(name, kind, rdclass, use_edns=edns)
        send = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await send(query, self.host, port=self.port, timeout=30, source=source)

    async def send_tcp(self, *packets: bytes) -> bytes:
        """Send length-prefixed packets on one connection; return all that comes back."""
        reader, writer = await asyncio.open_connection(self.host, self.port)
        for packet in packets:
            writer.write(struct.pack("!H", len(packet)) + packet)
        writer.write_eof()
        received = await reader.read()
        writer.close()
        return received

    async def start(self) -> None:
        """Start the resolver, on the port that it had before."""
        udp, tcp = resolver.bind(self.host, self.port)
        self.port = tcp.getsockname()[1]
        upstream = (self.host, self.port) if self.loops else self.upstream
        answers = resolver.CloudResolver(
            SERVED,
            self.addresses,
            host_exists=self.has_host,
            answer_name=self.answer_name,
            reserved=self.reserved,
            upstream=upstream,
        )
        await self._stack.enter_async_context(resolver.run_resolver(answers, udp, tcp))

    async def stop(self) -> None:
        """Stop the resolver."""
        await self._stack.aclose()


@asynccontextmanager
async def running(
    upstream: resolver.Upstream | None = None,
    host: str = HOST,
    addresses: Sequence[Address] = tuple(ADDRESSES),
    *,
    loops: bool = False,
    answer_name: resolver.AnswerName | None = None,
    reserved: Sequence[str] = (),
) -> AsyncIterator[Cloud]:
    """Run a resolver with the vault `demo`; with `loops`, it forwards to itself."""
    cloud = Cloud(
        host=host,
        vaults={"demo"},
        upstream=upstream,
        addresses=addresses,
        loops=loops,
        answer_name=answer_name,
        reserved=reserved,
    )
    await cloud.start()
    try:
        yield cloud
    finally:
        await cloud.stop()
