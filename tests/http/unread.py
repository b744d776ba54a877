"""Clients that read nothing, and what the kernel keeps for them."""

import asyncio
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 30


@contextmanager
def connected(
    address: tuple[str, int], *, receive_buffer: int | None = None
) -> Iterator[socket.socket]:
    """Connect; with a small receive buffer, most data waits at the server."""
    with socket.socket() as client:
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(address)
        yield client


async def closing_error(client: socket.socket) -> int:
    """Wait until the server has reset a connection that is not read; return the error, 0 for none."""
    poll = select.poll()
    poll.register(client, 0)  # only a reset is an event; data and the end of data are not
    await asyncio.to_thread(poll.poll, _SECONDS * 1000)
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


async def wait_until_forgotten(server_port: int, client: socket.socket) -> None:
    """Wait until the kernel has no socket of the server for a client. Raises TimeoutError."""
    local, remote = f":{server_port:04X}", f":{client.getsockname()[1]:04X}"
    async with asyncio.timeout(_SECONDS):
        while any(  # noqa: ASYNC110 the kernel reports no event
            fields[1].endswith(local) and fields[2].endswith(remote)
            for fields in map(str.split, Path("/proc/net/tcp").read_text("ascii").splitlines())
        ):
            await asyncio.sleep(0.05)
