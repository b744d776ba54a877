"""Clients of a token service under load: each on a connection of its own, each request another assertion."""

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
class Load:
    """What the clients saw, and what each server spent on it.

    Units:   processor seconds: of `each` server, `idle` of the cores they may use, the clients' `own`.
    """

    took: list[float] = field(default_factory=list)
    seconds: float = 0.0
    each: Sequence[float] = ()
    idle: float = 0.0
    own: float = 0.0

    @property
    def spent(self) -> float:
        return sum(self.each)

    @property
    def least_share(self) -> float:
        """Give what the idlest server did of what an equal part would be: 1 when all did the same."""
        return min(self.each) * len(self.each) / self.spent

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds

    @property
    def per_core_second(self) -> float:
        """Count answers by the servers' own time on their cores, as `openssl speed` counts."""
        return len(self.took) / self.spent

    @property
    def per_left_second(self) -> float:
        """Count answers by all the time that others left to the servers, used or not.

        Servers that sleep, or wait for each other, have less of it. That clients or other programs need a
        core too takes nothing from it.
        """
        return len(self.took) / (self.spent + self.idle)

    def quantile_ms(self, percent: int) -> float:
        return statistics.quantiles(self.took, n=100)[percent - 1] * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A service under load.

    Shapes:  `pids` are the processes whose time counts, `cores` those they may use.
    """

    port: int
    ca_file: Path
    pids: Sequence[int]
    cores: Sequence[int]

    def now(self) -> "Moment":
        """Note how much time has been used so far."""
        return Moment(
            at=time.perf_counter(),
            each=[_spent(pid) for pid in self.pids],
            idle=_idle(self.cores),
            own=time.process_time(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How much time was used until a moment."""

    at: float
    each: Sequence[float]
    idle: float
    own: float

    def until(self, now: "Moment", load: Load) -> None:
        """Write down what was used between two moments."""
        load.seconds, load.idle, load.own = (
            now.at - self.at,
            now.idle - self.idle,
            now.own - self.own,
        )
        load.each = [new - old for new, old in zip(now.each, self.each, strict=True)]


def _idle(cores: Sequence[int]) -> float:
    wanted = {f"cpu{core}" for core in cores}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    # The fourth figure is idle, the fifth waits for a disk.
    ticks = sum(int(line[4]) + int(line[5]) for line in lines if line and line[0] in wanted)
    return ticks / os.sysconf("SC_CLK_TCK")


def _spent(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Give a process's resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024 / 1024


class _Client(asyncio.Protocol):
    """Sends, waits for the whole answer, pauses, and sends again."""

    def __init__(self, load: Load, requests: Sequence[bytes], index: int, pause: float) -> None:
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
            self.lost = exc or ConnectionError("the server hung up")

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
        # Of chance, as among clients that know nothing of each other: those of equal pauses who were once
        # answered together go on asking together, and measure the crowd that they make.
        wait = self._chance.expovariate(1 / self._pause) if self._pause else 0.0
        rest = wait - (now - self._sent)
        if rest > 0:
            asyncio.get_running_loop().call_later(rest, self._send)
        else:
            self._send()


def is_whole(answer: bytes) -> bool:
    """Tell whether an answer has come to its end."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return bool(blank) and length is not None and len(body) >= int(length[1])


def drive(
    target: Target, requests: Sequence[bytes], *, pause: float = 0.0, seconds: float = SECONDS
) -> Load:
    """Ask on 16 connections that are kept; what comes while all gets warm is not counted.

    Units:   `pause` is the mean time between two requests of a connection, if answers took none.
    """

    async def go() -> Load:
        load = Load()
        clients = await _connect(target, load, requests, pause)
        await asyncio.sleep(WARM_SECONDS)
        load.took.clear()
        before = target.now()
        await asyncio.sleep(seconds)
        before.until(target.now(), load)
        for transport, client in clients:
            client.stopped = True
            transport.close()
            if client.lost is not None:
                raise client.lost
        return load

    return _run(go)


async def _connect(
    target: Target, load: Load, requests: Sequence[bytes], pause: float
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


def drive_anew(target: Target, requests: Sequence[bytes], *, seconds: float = SECONDS) -> Load:
    """Ask 16 at a time, each on a new connection with a whole handshake."""

    async def one(load: Load, trust: ssl.SSLContext, request: bytes) -> None:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", target.port, ssl=trust, server_hostname="localhost"
        )
        writer.write(request)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        await reader.readuntil(b"access_token")
        load.took.append(time.perf_counter() - began)
        writer.transport.abort()

    async def go() -> Load:
        load, trust = Load(), ssl.create_default_context(cafile=target.ca_file)
        before = target.now()

        async def many(index: int) -> None:
            while time.perf_counter() < before.at + seconds:
                await one(load, trust, requests[index % len(requests)])
                index += CONNECTIONS

        await asyncio.gather(*(many(index) for index in range(CONNECTIONS)))
        before.until(target.now(), load)
        return load

    return _run(go)


def _run(go: Callable[[], Coroutine[Any, Any, Load]]) -> Load:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(go())
