"""Names looked up so that a slow one keeps nobody else waiting.

The system's own look-up blocks a thread for half a minute when a name's server does not answer, and the
event loop has few threads for it. Here each look-up has a thread of its own, a name at most one, and when
all are taken a name that was found before is found again from memory.
"""

import asyncio
import contextlib
import socket
import threading
from collections import OrderedDict

from podpass.errors import Error

THREADS = 32
MAX_REMEMBERED = 1000

Addresses = tuple[str, ...]


class NameUnknown(Error):
    """A name has no address, or could not be looked up now."""

    code = "name_unknown"
    status = 502


class Resolver:
    """Look names up, several at once."""

    def __init__(self) -> None:
        self._looking: dict[str, asyncio.Future[Addresses]] = {}
        self._remembered: OrderedDict[str, Addresses] = OrderedDict()

    async def find(self, host: str) -> Addresses:
        """Find the addresses of a name.

        Errors:  NameUnknown.
        """
        looking = self._looking.get(host)
        if looking is None and len(self._looking) >= THREADS:
            found = self._remembered.get(host, ())
        else:
            # Shielded: the thread cannot be stopped, and others may wait for it.
            found = await asyncio.shield(looking or self._begin(host))
        if not found:
            raise NameUnknown("the host's name has no address", host=host)
        return found

    def _begin(self, host: str) -> "asyncio.Future[Addresses]":
        loop = asyncio.get_running_loop()
        looking: asyncio.Future[Addresses] = loop.create_future()
        self._looking[host] = looking

        def look() -> None:
            found = _look(host)
            # The loop may have ended meanwhile; nobody waits then.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._done, host, looking, found)

        # A daemon: a look-up that hangs must not keep the process from ending.
        threading.Thread(target=look, name=f"resolve {host}", daemon=True).start()
        return looking

    def _done(self, host: str, looking: "asyncio.Future[Addresses]", found: Addresses) -> None:
        del self._looking[host]
        if not looking.done():
            looking.set_result(found)
        if found:
            self._remembered[host] = found
            self._remembered.move_to_end(host)
            while len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)


def _look(host: str) -> Addresses:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(where[0]) for *_, where in found))
