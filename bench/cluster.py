"""The embedded Kubernetes API with 10,000 pods and 200 watchers: its costs and the stalls of its event loop.

The server is a separate process on one core, over TLS. So is the bare server to which it is compared: the
same HTTP stack, which responds with the same number of bytes or sends them to the same number of clients. A
stall is the longest CPU time between two iterations of the event loop; it does not include the time of other
programs. Run: python -m bench.cluster
"""

import asyncio
import json
import os
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import trustme
import uvloop
import yaml

from bench import cluster_server
from bench.cluster_watchers import Watchers
from bench.load import LoadedServer, cores
from bench.rows import row

PODS, WARM, WRITERS = 10_000, 500, 16
WATCHERS = 200
SINGLES = 50  # single changes
PAUSE = 0.03  # seconds between them: the server sends closer changes together
BURST = 500  # changes in a row
PATH = "/api/v1/namespaces/default/pods"
HEADERS = {"authorization": f"Bearer {cluster_server.TOKEN}"}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_STALL_MS = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """The report of a server about the time since its last report.

    Units: the longest stall of the loop in milliseconds of CPU time and of wall-clock time; memory now and
    at.
    its peak, in MB.
    """

    stall_ms: float
    by_clock_ms: float
    memory: float
    peak: float


@dataclass(slots=True, kw_only=True)
class ServerProcess:
    """A server in a separate process."""

    server: LoadedServer
    process: "asyncio.subprocess.Process"
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.port}"

    async def report(self) -> ServerReport:
        """Return the report since the last call, and start a new one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        return ServerReport(**json.loads(await self.process.stdout.readline()))

    async def send_line(self, what: bytes) -> None:
        """Pass a line to the bare server, which sends it to every client."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + b"\n")

    async def get(self, path: str, accept: str = "application/json") -> bytes:
        headers = HEADERS | {"accept": accept}
        async with self.session.get(self.url + path, headers=headers) as answer:
            assert answer.status == 200, answer.status
            return await answer.read()


def run() -> list[dict[str, str]]:
    """Measure and yield rows."""
    server_core, load_core = cores()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {load_core})
    try:
        return uvloop.run(_run(server_core))
    finally:
        os.sched_setaffinity(0, allowed)


async def _run(core: int) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder, ca = Path(name), trustme.CA()
        leaf = ca.issue_cert("localhost")
        leaf.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
        leaf.private_key_pem.write_to_path(str(folder / "tls.key"))
        ca.cert_pem.write_to_path(str(folder / "ca.crt"))
        tls = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
        async with AsyncExitStack() as stack:
            ours = await stack.enter_async_context(_child("ours", folder, core, tls))
            bare = await stack.enter_async_context(_child("bare", folder, core, tls))
            rows = await _measure_creation(ours)
            rows += await _measure_lists(ours, bare)
            rows += await _measure_kubectl(ours, folder)
            rows += await _measure_watchers(ours, bare, tls)
            return rows


@asynccontextmanager
async def _child(
    what: str, folder: Path, core: int, tls: ssl.SSLContext
) -> AsyncIterator[ServerProcess]:
    command = [sys.executable, "-m", "bench.cluster_server", what, str(folder), str(core)]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            port = int(await process.stdout.readline())
            server = LoadedServer(port=port, pid=process.pid)
            yield ServerProcess(server=server, process=process, session=session)
        finally:
            process.terminate()
            await process.wait()


def _pod() -> bytes:
    """Return a pod as a Deployment's controller sends it; it takes about 3 kB when stored."""
    container = {
        "name": "app",
        "image": "registry.example/shop/app:1.42.0",
        "ports": [{"containerPort": 8080, "name": "http"}],
        "env": [{"name": f"SETTING_{number}", "value": f"value {number}"} for number in range(5)],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}},
    }
    labels = {"app": "shop", "azure.workload.identity/use": "true"}
    body = {
        "metadata": {"generateName": "shop-6d4cf56db6-", "labels": labels},
        "spec": {"containers": [container]},
    }
    return json.dumps(body).encode()


async def _measure_creation(ours: ServerProcess) -> list[dict[str, str]]:
    """Create the pods with several clients at once; the first pods are not counted."""
    before = await ours.report()
    await _create(ours, WARM)
    await ours.report()
    used, began = ours.server.core_seconds(), time.perf_counter()
    await _create(ours, PODS - WARM)
    took, used = time.perf_counter() - began, ours.server.core_seconds() - used
    after, made = await ours.report(), PODS - WARM
    size = f"{(after.memory - before.memory) * 1024 / PODS:.1f} kB a pod with its history"
    return [
        row(f"cluster, pods created, {WRITERS} clients", f"{made / took:,.0f} /s", "", None),
        row("cluster, pods created, per core second", f"{made / used:,.0f} /s", "", None),
        row(f"cluster, memory with {PODS:,} pods", f"{after.memory:.0f} MB", size, None),
        _stall("cluster, creating", after),
    ]


async def _create(ours: ServerProcess, count: int) -> None:
    left, body = iter(range(count)), _pod()
    sent = HEADERS | {"content-type": "application/json"}

    async def write() -> None:
        for _ in left:
            async with ours.session.post(ours.url + PATH, data=body, headers=sent) as answer:
                assert answer.status == 201, await answer.text()
                await answer.read()

    await asyncio.gather(*(write() for _ in range(WRITERS)))


def _stall(name: str, looked: ServerReport) -> dict[str, str]:
    """Return the row of the loop's longest stall, during which other clients wait."""
    value = f"{looked.stall_ms:.0f} ms, {looked.by_clock_ms:.0f} by clock"
    return row(
        f"{name}: loop's longest stall",
        value,
        f"limit {_STALL_MS:.0f}",
        looked.stall_ms / _STALL_MS,
        most=1,
    )


async def _measure_lists(ours: ServerProcess, bare: ServerProcess) -> list[dict[str, str]]:
    label = "?labelSelector=app%3Dshop,!nope"
    cases: list[tuple[str, str, str]] = [
        ("all at once", PATH, "application/json"),
        ("all at once, by label", PATH + label, "application/json"),
        ("all at once, metadata only", PATH, METADATA),
        ("all at once, as a table", PATH, TABLE),
        ("one page of 500", PATH + "?limit=500", "application/json"),
        ("one page of 500, as a table", PATH + "?limit=500", TABLE),
    ]
    rows = []
    for name, path, accept in cases:
        size = len(await ours.get(path, accept))
        await ours.report()
        took = await _median(ours, path, accept)
        looked = await ours.report()
        limit = await _median(bare, f"/{size}", accept)
        title = f"cluster, {PODS:,} pods, {name}, {size / 1e6:.1f} MB"
        peer = f"bare, as many bytes {limit * 1000:,.1f}"
        rows.append(row(title, f"{took * 1000:,.0f} ms", peer, took / limit))
        rows.append(_stall(f"cluster, {name}", looked))
        if name == "all at once":
            grown = f"{looked.peak - looked.memory:.1f} MB"
            rows.append(row("cluster, all at once: memory for it", grown, "", None))
    return rows


async def _median(child: ServerProcess, path: str, accept: str) -> float:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        await child.get(path, accept)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


async def _measure_kubectl(ours: ServerProcess, folder: Path) -> list[dict[str, str]]:
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if kubectl is None:
        return []
    config, entry = folder / "kubeconfig", {"name": "bench"}
    cluster = {"server": ours.url, "certificate-authority": str(folder / "ca.crt")}
    lists = {
        "clusters": [{**entry, "cluster": cluster}],
        "users": [{**entry, "user": {"token": cluster_server.TOKEN}}],
        "contexts": [{**entry, "context": {"cluster": "bench", "user": "bench"}}],
    }
    head = {"apiVersion": "v1", "kind": "Config", "current-context": "bench"}
    config.write_text(yaml.safe_dump(head | lists))
    environ = {"HOME": str(folder), "KUBECONFIG": str(config)}
    await ours.report()
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        kubectl, "get", "pods", env=environ, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    took = time.perf_counter() - began
    assert len(out.splitlines()) == PODS + 1
    looked = await ours.report()
    name = f"cluster, kubectl get pods, {PODS:,} of them by 500"
    return [row(name, f"{took:.2f} s", "", None), _stall("cluster, kubectl get pods", looked)]


async def _measure_watchers(
    ours: ServerProcess, bare: ServerProcess, tls: ssl.SSLContext
) -> list[dict[str, str]]:
    listed = json.loads(await ours.get(PATH + "?limit=1"))
    name = listed["items"][0]["metadata"]["name"]
    at = listed["metadata"]["resourceVersion"]
    line = b"x" * 3000
    async with Watchers.connect(WATCHERS, bare.server.port, tls, "/stream", {}) as watchers:
        limit = await _measure_fan_out(bare, watchers, lambda: bare.send_line(line))
    rows, path = list[dict[str, str]](), f"{PATH}?watch=1&resourceVersion={at}"
    for title, each in (("", path), (", each with a selector", f"{path}&labelSelector=app%3Dshop")):
        async with Watchers.connect(WATCHERS, ours.server.port, tls, each, HEADERS) as watchers:
            found = await _measure_fan_out(ours, watchers, _labels(ours, name))
        rows += _fan_out_rows(f"cluster, {WATCHERS} watchers{title}", found, limit)
    return rows


def _labels(ours: ServerProcess, name: str) -> Callable[[], Any]:
    count = iter(range(1_000_000))
    headers = HEADERS | {"content-type": "application/merge-patch+json"}

    async def change() -> None:
        data = json.dumps({"metadata": {"labels": {"x": str(next(count))}}})
        url = f"{ours.url}{PATH}/{name}"
        async with ours.session.patch(url, data=data, headers=headers) as answer:
            assert answer.status == 200, await answer.text()

    return change


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOutResult:
    """The time until every watcher had received a change.

    Units: milliseconds; `alone` and `burst` are CPU time per change, for single changes and for many in a.
    row.
    """

    p50: float
    p99: float
    alone: float
    burst: float
    per_second: float
    looked: ServerReport


async def _measure_fan_out(
    child: ServerProcess, watchers: Watchers, change: Callable[[], Any]
) -> FanOutResult:
    """Make single changes and then many in a row; wait until every watcher has received all of them."""
    await change()
    await watchers.until(1)
    await child.report()
    used, took = child.server.core_seconds(), list[float]()
    for _ in range(SINGLES):
        await asyncio.sleep(PAUSE)
        began = time.perf_counter()
        await change()
        await watchers.until(1)
        took.append(time.perf_counter() - began)
    alone = child.server.core_seconds() - used
    used, began = child.server.core_seconds(), time.perf_counter()
    for _ in range(BURST):
        await change()
    await watchers.until(BURST)
    took.sort()
    return FanOutResult(
        p50=took[len(took) // 2] * 1000,
        p99=took[int(len(took) * 0.99)] * 1000,
        alone=alone / SINGLES * 1000,
        burst=(child.server.core_seconds() - used) / BURST * 1000,
        per_second=BURST / (time.perf_counter() - began),
        looked=await child.report(),
    )


def _fan_out_rows(name: str, found: FanOutResult, limit: FanOutResult) -> list[dict[str, str]]:
    memory = f"{found.looked.memory:.0f} MB"
    seen = f"{found.p50:.1f} ms, p99 {found.p99:.1f}"
    bare = f"bare server {limit.p50:.1f}, p99 {limit.p99:.1f}"
    return [
        row(f"{name}: all received a change", seen, bare, found.p50 / limit.p50),
        _compared_row(f"{name}: core time a change", found.alone, limit.alone),
        _compared_row(f"{name}: core time of one of {BURST}", found.burst, limit.burst),
        row(f"{name}: {BURST} in a row", f"{found.per_second:,.0f} /s", "", None),
        row(f"{name}: memory", memory, f"peak {found.looked.peak:.0f} MB", None),
        _stall(name, found.looked),
    ]


def _compared_row(name: str, ours: float, bare: float) -> dict[str, str]:
    return row(name, f"{ours:.2f} ms", f"bare server {bare:.2f}", ours / bare)


def main() -> None:
    """Measure and print the rows."""
    from bench import rows

    rows.print_rows(run())


if __name__ == "__main__":
    main()
