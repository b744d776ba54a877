"""Many minimal watch clients of one URL: each only counts the lines that it receives."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self, cast

_SECONDS = 120


class _Watcher(asyncio.Protocol):
    def __init__(self, request: bytes, many: "Watchers") -> None:
        self._request, self._many = request, many
        self._body, self._last = False, b""
        self.lines = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._body:
            if not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"answered {data[:200]!r}")
            _, _, data = data.partition(b"\r\n\r\n")
            self._body = True
            self._many.on_response()
        # A chunk ends in CR LF; an event ends in LF without CR.
        before, data = self.lines, self._last + data
        self._last = data[-1:] if data.endswith(b"\r") else b""
        self.lines += data.count(b"\n") - data.count(b"\r\n")
        if before < self._many.wanted <= self.lines:
            self._many.on_complete()


class Watchers:
    """Connected watch clients."""

    def __init__(self, count: int) -> None:
        self._each: list[_Watcher] = []
        self._enough = asyncio.Event()
        self._before = self._behind = 0
        self._all_open, self._closed = asyncio.Event(), count
        self.wanted = 0

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, count: int, port: int, tls: ssl.SSLContext, path: str, headers: Mapping[str, str]
    ) -> AsyncIterator[Self]:
        """Connect `count` clients, and disconnect them at the end."""
        many = cls(count)
        head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = (head + "\r\n").encode()
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, each = await loop.create_connection(
                lambda: _Watcher(request, many),
                "127.0.0.1",
                port,
                ssl=tls,
                server_hostname="localhost",
            )
            many._each.append(each)
        await asyncio.wait_for(many._all_open.wait(), _SECONDS)
        await asyncio.sleep(0.5)  # the remaining lines of the first responses
        many._before = min(each.lines for each in many._each)
        try:
            yield many
        finally:
            for each in many._each:
                each.transport.abort()

    async def until(self, lines: int) -> None:
        """Return when each client has received `lines` further lines."""
        self.wanted = self._before + lines
        self._behind = sum(each.lines < self.wanted for each in self._each)
        self._enough.clear()
        if self._behind:
            await asyncio.wait_for(self._enough.wait(), _SECONDS)
        self._before = self.wanted

    def on_response(self) -> None:
        """Count a client whose response has started."""
        self._closed -= 1
        if not self._closed:
            self._all_open.set()

    def on_complete(self) -> None:
        """Count a client that has received all expected lines."""
        self._behind -= 1
        if not self._behind:
            self._enough.set()
