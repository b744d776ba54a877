"""Options of the sockets of a tunnel, and their end: neither process nor kernel keeps unread data."""

import asyncio
import contextlib
import socket
from typing import Protocol

from podpass.http.acceptor import UNSENT_BYTES
from podpass.http.connection import RESET_ON_CLOSE


class _Socket(Protocol):
    """A socket, or what a transport returns for it."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option."""


def limit_unsent(sock: _Socket, stall_seconds: float | None = None) -> None:
    """Limit the unsent data in the kernel, and how long the kernel waits for a peer that accepts no data.

    Without a limit, the kernel keeps the data of a closed connection for minutes.
    """
    with contextlib.suppress(OSError):  # the peer has disconnected
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if stall_seconds is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            # Longer than this process waits: its reset is the only message to the peer.
            milliseconds = round(2 * stall_seconds * 1000)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def acknowledge(sock: _Socket) -> None:
    """Acknowledge what the peer has sent at once; the kernel may wait 40 ms.

    urllib3, and with it msal and az, uses Nagle's algorithm with a proxy and sends head and body of a request
    separately, so the body waits for this acknowledgement. The option holds until the next response only.
    """
    with contextlib.suppress(OSError):  # the peer has disconnected
        if hasattr(socket, "TCP_QUICKACK"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def reset(transport: asyncio.WriteTransport) -> None:
    """Disconnect a peer that does not read, and discard its data."""
    sock = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):  # the connection is already closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()


async def close(writer: asyncio.StreamWriter, seconds: float) -> None:
    """Close a connection; reset it if the peer does not read the rest of its data within some seconds."""
    writer.close()
    try:
        async with asyncio.timeout(seconds):
            await writer.wait_closed()
    except TimeoutError:
        reset(writer.transport)
    except OSError:
        pass  # the peer has disconnected
