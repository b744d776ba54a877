"""Read the start of a connection to the gateway, connect to its target, and copy bytes in both directions."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial

from podpass.http.resolver import NameNotResolved
from podpass.lab.gateway import sni, sockets
from podpass.lab.gateway.pod_targets import Address

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

MAX_HEAD_BYTES = 16 * 1024
CHUNK_BYTES = 64 * 1024
HALF_OPEN_SECONDS = 30.0
# A kernel with a full receive buffer of 6 MB announces no space before a 16th of it is free: 48 seconds for a
# client that reads 8 kB a second. The services have a shorter limit that knows this.
STALL_SECONDS = 120.0


async def read_hello(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Read a ClientHello; return its server name and the data that was read.

    Raises BadHello; IncompleteReadError if the client disconnects.
    """
    hello = sni.HelloReader()
    while not hello.is_complete:
        header = await reader.readexactly(sni.HEADER_BYTES)
        length = sni.record_length(header)
        if len(hello.data) + len(header) + length > MAX_HEAD_BYTES:
            raise sni.BadHello("the ClientHello is too long")
        hello.add(header, await reader.readexactly(length))
    return hello.server_name(), bytes(hello.data)


async def connect(addresses: Sequence[Address]) -> Stream:
    """Connect to the first address that responds. Raises OSError, UnicodeError."""
    *others, last = addresses
    for address in others:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(*address, limit=CHUNK_BYTES)
    return await asyncio.open_connection(*last, limit=CHUNK_BYTES)


async def connect_service(address: Address, on_begin: Callable[[Address], None]) -> Stream:
    """Connect to a service of this process. Raises OSError.

    `on_begin` gets the own address of the connection before the service can accept it.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    # asyncio disables Nagle's algorithm only for a socket that names its protocol.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setblocking(False)
    connected = asyncio.Event()
    try:
        with contextlib.suppress(BlockingIOError):
            sock.connect(address)
        on_begin(sock.getsockname()[:2])
        loop.add_writer(sock, connected.set)
        try:
            await connected.wait()
        finally:
            loop.remove_writer(sock)
        return await asyncio.open_connection(sock=sock, limit=CHUNK_BYTES)
    except BaseException:
        sock.close()
        raise


async def relay(
    client: Stream,
    remote: Stream,
    *,
    half_open_seconds: float = HALF_OPEN_SECONDS,
    stall_seconds: float = STALL_SECONDS,
) -> None:
    """Copy in both directions until both have ended, and close; an error in one direction ends both.

    After the end of one direction, the other ends when no data has passed for `half_open_seconds`. Without
    this limit, a client that never closes would keep a tunnel of its share to a service that has closed.
    A side that accepts no data for `stall_seconds` ends the tunnel: while data waits here for a client that
    does not read, the tunnel cannot notice that the service has disconnected.
    """
    loop, is_half_open = asyncio.get_running_loop(), False

    async def copy(
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        acknowledge: Callable[[], None] = lambda: None,
    ) -> None:
        nonlocal is_half_open
        while data := await source.read(CHUNK_BYTES):
            acknowledge()
            sink.write(data)
            # Wait for a slow peer, so that a tunnel buffers only a bounded amount.
            await _drain(sink, stall_seconds)
            extend()
        if sink.can_write_eof() and not sink.is_closing():
            sink.write_eof()
        is_half_open = True
        extend()

    def extend() -> None:
        if is_half_open and not limit.expired():
            limit.reschedule(loop.time() + half_open_seconds)

    acknowledge = partial(sockets.acknowledge, client[1].get_extra_info("socket"))
    try:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            group.create_task(copy(client[0], remote[1], acknowledge))
            group.create_task(copy(remote[0], client[1]))
    except* TimeoutError:
        # Closing would wait until a peer that does not read has read the buffer.
        for _, writer in (client, remote):
            sockets.reset(writer.transport)
    except* OSError:
        pass
    # Without this, a peer that does not read keeps its connection after the tunnel has ended.
    await asyncio.gather(*(sockets.close(each, stall_seconds) for _, each in (client, remote)))


async def _drain(writer: asyncio.StreamWriter, seconds: float) -> None:
    """Wait until the peer has accepted most of the data. Raises TimeoutError when it accepts nothing."""
    while True:
        waiting = writer.transport.get_write_buffer_size()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await writer.drain()
        if writer.transport.get_write_buffer_size() >= waiting:
            raise TimeoutError


def describe_error(exc: Exception) -> str:
    if isinstance(exc, socket.gaierror | UnicodeError | NameNotResolved):
        return "the host name does not resolve"
    if isinstance(exc, OSError) and exc.errno:
        return os.strerror(exc.errno)
    return "no address of the host responds"
