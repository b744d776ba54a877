"""The servers of `bench.cluster`, each in a separate process; a line on stdin requests a report."""

import asyncio
import json
import os
import re
import sys
import time
from pathlib import Path

import uvloop
from kubeling.cluster import ClusterConfig, EmbeddedCluster, UserInfo
from kubeling.service_account.signer import RsaSigner

from podpass.http.server import (
    JSON,
    App,
    Receive,
    Scope,
    Send,
    bind,
    respond,
    server_tls,
    serving,
)

TOKEN = "bench"
_TICK = 0.002


class _Stalls:
    """Records the longest time between two iterations of the event loop, in CPU and wall-clock time."""

    def __init__(self) -> None:
        self._used = self._waited = 0.0

    async def run(self) -> None:
        used, clock = time.thread_time(), time.perf_counter()
        while True:
            await asyncio.sleep(_TICK)
            now = time.thread_time(), time.perf_counter()
            self._used = max(self._used, now[0] - used)
            self._waited = max(self._waited, now[1] - clock - _TICK)
            used, clock = now

    def report(self) -> str:
        """Return the report and start a new one."""
        status = Path("/proc/self/status").read_text()
        report = {
            "stall_ms": self._used * 1000,
            "by_clock_ms": self._waited * 1000,
            "memory": _mb(status, "VmRSS"),
            "peak": _mb(status, "VmHWM"),
        }
        self._used = self._waited = 0.0
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
        return json.dumps(report)


def _mb(status: str, name: str) -> float:
    found = re.search(rf"^{name}:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


class _Bare:
    """Responds with the number of bytes that the path names, or sends each line to all connected clients."""

    def __init__(self) -> None:
        self._clients: set[Send] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/stream":
            await respond(send, 200, b" " * int(scope["path"][1:]))
            return
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        self._clients.add(send)
        while (await receive())["type"] != "http.disconnect":
            pass
        self._clients.discard(send)

    async def send_line(self, line: bytes) -> None:
        for send in list(self._clients):
            await send({"type": "http.response.body", "body": line, "more_body": True})


async def _serve(what: str, folder: Path) -> None:
    if what == "bare":
        bare = _Bare()
        await _answer(bare, folder, bare)
        return
    config = ClusterConfig(
        database=folder / "kubernetes.db",
        issuer="https://localhost/",
        signer=RsaSigner(),
        ca_file=folder / "ca.crt",
        tokens={TOKEN: UserInfo(name="admin", groups=("system:masters",))},
    )
    async with EmbeddedCluster(config) as cluster:
        await _answer(cluster.app, folder, None)


async def _answer(app: App, folder: Path, bare: _Bare | None) -> None:
    sock, stalls = bind("127.0.0.1", 0), _Stalls()
    tls = server_tls(str(folder / "tls.crt"), str(folder / "tls.key"))
    turning = asyncio.create_task(stalls.run())
    reader = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    async with serving(app, sock, tls):
        print(sock.getsockname()[1], flush=True)
        while line := await reader.readline():
            if line == b"\n":
                print(stalls.report(), flush=True)
            elif bare is not None:
                await bare.send_line(line)
    turning.cancel()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[3])})
    uvloop.run(_serve(sys.argv[1], Path(sys.argv[2])))
