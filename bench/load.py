"""A load over keep-alive, with or without TLS: each connection sends a request after each response."""

import asyncio
import os
import ssl
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httptools


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedServer:
    """A server under load."""

    port: int
    pid: int

    def core_seconds(self) -> float:
        """Return the CPU seconds that the process has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """The result of a load: responses a second, and p50 and p99 in milliseconds.

    Units: `per_core_second` counts the server's CPU time only, so other programs do not count.
    """

    per_second: float
    per_core_second: float
    p50_ms: float
    p99_ms: float


class _LoadConnection(asyncio.Protocol):
    def __init__(self, request: bytes, until: float, seconds: list[float]) -> None:
        self._request, self._until, self._seconds = request, until, seconds
        self._parser = httptools.HttpResponseParser(self)
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        now = time.perf_counter()
        self._seconds.append(now - self._asked)
        if self._parser.get_status_code() != 200:
            self._end(RuntimeError(f"status {self._parser.get_status_code()}"))
        elif now < self._until:
            self._send()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the server closed the connection"))

    def _end(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc) if exc else self.done.set_result(None)
            self._transport.close()


def median(rounds: Sequence[LoadResult]) -> LoadResult:
    """Return the median of each figure."""
    return LoadResult(
        per_second=statistics.median(one.per_second for one in rounds),
        per_core_second=statistics.median(one.per_core_second for one in rounds),
        p50_ms=statistics.median(one.p50_ms for one in rounds),
        p99_ms=statistics.median(one.p99_ms for one in rounds),
    )


async def run_load(
    request: bytes,
    server: LoadedServer,
    tls: ssl.SSLContext | None,
    *,
    connections: int,
    seconds: float,
) -> LoadResult:
    """Send one request repeatedly; the first tenth of the time is warm-up and not counted."""
    await _run_connections(request, server.port, tls, connections, seconds / 10)
    started, used = time.perf_counter(), server.core_seconds()
    measured = sorted(await _run_connections(request, server.port, tls, connections, seconds))
    took, used = time.perf_counter() - started, server.core_seconds() - used
    return LoadResult(
        per_core_second=len(measured) / used,
        per_second=len(measured) / took,
        p50_ms=measured[len(measured) // 2] * 1000,
        p99_ms=measured[int(len(measured) * 0.99)] * 1000,
    )


async def _run_connections(
    request: bytes, port: int, tls: ssl.SSLContext | None, connections: int, seconds: float
) -> list[float]:
    loop = asyncio.get_running_loop()
    until, measured = time.perf_counter() + seconds, list[float]()
    askers = [
        (
            await loop.create_connection(
                lambda: _LoadConnection(request, until, measured),
                "127.0.0.1",
                port,
                ssl=tls,
                server_hostname="localhost" if tls else None,
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(asker.done for asker in askers))
    return measured


def cores() -> tuple[int, int]:
    """Return one core for the server and another for the load."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]
