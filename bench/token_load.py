"""A load on a token service: each client has its own connection, each request its own assertion."""

import asyncio
import os
import random
import re
import ssl
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

CONNECTIONS = 16
SECONDS = 5.0
WARM_SECONDS = 1.0


@dataclass(slots=True)
class TokenLoad:
    """The latencies of the clients and the CPU time of the servers.

    Units: CPU seconds: `each` of each server, `idle` of the cores that they may use, `own` of the clients.
    """

    took: list[float] = field(default_factory=list)
    seconds: float = 0.0
    each: Sequence[float] = ()
    idle: float = 0.0
    own: float = 0.0

    @property
    def cpu_seconds(self) -> float:
        return sum(self.each)

    @property
    def smallest_share(self) -> float:
        """Return the CPU time of the least busy server relative to an equal share: 1 if all are equal."""
        return min(self.each) * len(self.each) / self.cpu_seconds

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds

    @property
    def per_core_second(self) -> float:
        """Return the responses per CPU second of the servers, as `openssl speed` counts."""
        return len(self.took) / self.cpu_seconds

    @property
    def per_available_second(self) -> float:
        """Return the responses per second of CPU time that was available to the servers, used or idle.

        Servers that sleep or wait for each other reach less. The CPU time of clients and of other programs
        does not count.
        """
        return len(self.took) / (self.cpu_seconds + self.idle)

    def quantile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.took, n=100)[percent - 1] * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTarget:
    """A service under load.

    `pids` are the processes whose CPU time counts, `cores` the cores that they may use.
    """

    port: int
    ca_file: Path
    pids: Sequence[int]
    cores: Sequence[int]

    def time_used(self) -> "TimeUsed":
        """Return the CPU time that has been used so far."""
        return TimeUsed(
            at=time.perf_counter(),
            each=[_cpu_seconds(pid) for pid in self.pids],
            idle=_idle(self.cores),
            own=time.process_time(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeUsed:
    """The CPU time that was used until one moment."""

    at: float
    each: Sequence[float]
    idle: float
    own: float

    def store_difference(self, now: "TimeUsed", load: TokenLoad) -> None:
        """Store in `load` what was used between two moments."""
        load.seconds, load.idle, load.own = (
            now.at - self.at,
            now.idle - self.idle,
            now.own - self.own,
        )
        load.each = [new - old for new, old in zip(now.each, self.each, strict=True)]


def _idle(cores: Sequence[int]) -> float:
    wanted = {f"cpu{core}" for core in cores}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    # The fourth value is idle time, the fifth is time waiting for a disk.
    ticks = sum(int(line[4]) + int(line[5]) for line in lines if line and line[0] in wanted)
    return ticks / os.sysconf("SC_CLK_TCK")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


class _Client(asyncio.Protocol):
    """Sends a request, waits for the complete response, pauses, and repeats."""

    def __init__(
        self, load: TokenLoad, requests: Sequence[bytes], index: int, pause: float
    ) -> None:
        self._load, self._requests, self._pause = load, requests, pause
        self._index = index
        self._chance = random.Random(index)
        self._sent = 0.0
        self._buffer = b""
        self.stopped = False
        self.lost: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        loop = asyncio.get_running_loop()
        loop.call_later(self._pause * self._index / CONNECTIONS, self._send)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.stopped:
            self.lost = exc or ConnectionError("the server closed the connection")

    def _send(self) -> None:
        if self.stopped:
            return
        self._sent = time.perf_counter()
        self._transport.write(self._requests[self._index % len(self._requests)])
        self._index += CONNECTIONS

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not is_whole(self._buffer):
            return
        if not self._buffer.startswith(b"HTTP/1.1 200 "):
            self.lost, self.stopped = RuntimeError(self._buffer.decode()), True
            return
        self._buffer = b""
        now = time.perf_counter()
        self._load.took.append(now - self._sent)
        # The pause is random, as between independent clients. With equal pauses, clients whose responses came
        # at the same time would send all later requests at the same time too.
        wait = self._chance.expovariate(1 / self._pause) if self._pause else 0.0
        rest = wait - (now - self._sent)
        if rest > 0:
            asyncio.get_running_loop().call_later(rest, self._send)
        else:
            self._send()


def is_whole(answer: bytes) -> bool:
    """Return whether a response is complete."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(blank) and length is not None and len(body) >= int(length[1])


def drive(
    target: LoadTarget, requests: Sequence[bytes], *, pause: float = 0.0, seconds: float = SECONDS
) -> TokenLoad:
    """Send requests on 16 keep-alive connections; the warm-up is not counted.

    Units: `pause` is the mean time between a response and the next request of a connection.
    """

    async def go() -> TokenLoad:
        load = TokenLoad()
        clients = await _connect(target, load, requests, pause)
        await asyncio.sleep(WARM_SECONDS)
        load.took.clear()
        before = target.time_used()
        await asyncio.sleep(seconds)
        before.store_difference(target.time_used(), load)
        for transport, client in clients:
            client.stopped = True
            transport.close()
            if client.lost is not None:
                raise client.lost
        return load

    return _run(go)


async def _connect(
    target: LoadTarget, load: TokenLoad, requests: Sequence[bytes], pause: float
) -> list[tuple[asyncio.Transport, _Client]]:
    loop, trust = asyncio.get_running_loop(), ssl.create_default_context(cafile=target.ca_file)
    return [
        await loop.create_connection(
            lambda n=index: _Client(load, requests, n, pause),  # type: ignore[misc]
            "127.0.0.1",
            target.port,
            ssl=trust,
            server_hostname="localhost",
        )
        for index in range(CONNECTIONS)
    ]


def drive_new_connections(
    target: LoadTarget, requests: Sequence[bytes], *, seconds: float = SECONDS
) -> TokenLoad:
    """Send requests, 16 at a time, each on a new connection with a full TLS handshake."""

    async def one(load: TokenLoad, trust: ssl.SSLContext, request: bytes) -> None:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", target.port, ssl=trust, server_hostname="localhost"
        )
        writer.write(request)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        await reader.readuntil(b"access_token")
        load.took.append(time.perf_counter() - began)
        writer.transport.abort()

    async def go() -> TokenLoad:
        load, trust = TokenLoad(), ssl.create_default_context(cafile=target.ca_file)
        before = target.time_used()

        async def many(index: int) -> None:
            while time.perf_counter() < before.at + seconds:
                await one(load, trust, requests[index % len(requests)])
                index += CONNECTIONS

        await asyncio.gather(*(many(index) for index in range(CONNECTIONS)))
        before.store_difference(target.time_used(), load)
        return load

    return _run(go)


def _run(go: Callable[[], Coroutine[Any, Any, TokenLoad]]) -> TokenLoad:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(go())
