"""Resolve host names so that a slow DNS server delays only its own names.

The system's resolver blocks a thread for 30 seconds when a DNS server does not respond, and the event
loop has few threads for it. This resolver uses one thread per lookup and at most one lookup per name. When
all threads are in use, it returns the cached addresses of the name.
"""

import asyncio
import contextlib
import socket
import threading
from collections import OrderedDict

from podpass.errors import Error

MAX_THREADS = 32
MAX_CACHED = 1000

Addresses = tuple[str, ...]


class NameNotResolved(Error):
    """A name has no address, or the lookup failed."""

    code = "name_not_resolved"
    status = 502


class Resolver:
    """Resolves several names at the same time."""

    def __init__(self) -> None:
        self._lookups: dict[str, asyncio.Future[Addresses]] = {}
        self._cache: OrderedDict[str, Addresses] = OrderedDict()

    async def find(self, host: str) -> Addresses:
        """Return the addresses of a name. Raises NameNotResolved."""
        lookup = self._lookups.get(host)
        if lookup is None and len(self._lookups) >= MAX_THREADS:
            found = self._cache.get(host, ())
        else:
            # Shielded, because the thread cannot be stopped, and other callers may wait for it.
            found = await asyncio.shield(lookup or self._start(host))
        if not found:
            raise NameNotResolved("the host name has no address", host=host)
        return found

    def _start(self, host: str) -> "asyncio.Future[Addresses]":
        loop = asyncio.get_running_loop()
        lookup: asyncio.Future[Addresses] = loop.create_future()
        self._lookups[host] = lookup

        def run() -> None:
            found = _resolve(host)
            # RuntimeError: the loop is closed, so no caller waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finish, host, lookup, found)

        # A daemon thread, so that a blocked lookup does not keep the process alive.
        threading.Thread(target=run, name=f"resolve {host}", daemon=True).start()
        return lookup

    def _finish(self, host: str, lookup: "asyncio.Future[Addresses]", found: Addresses) -> None:
        del self._lookups[host]
        if not lookup.done():
            lookup.set_result(found)
        if found:
            self._cache[host] = found
            self._cache.move_to_end(host)
            while len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)


def _resolve(host: str) -> Addresses:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))
