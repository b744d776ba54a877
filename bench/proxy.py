"""The migration sidecar on one core, compared with the reference's process in the same run.

Both answer token requests from their cache over plain HTTP with keep-alive. They get their token from an
instance of podpass through its gateway, because the reference always asks login.microsoftonline.com. The rows
are the requests per second, the start, and the memory after the load.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench import rows
from bench.load import LoadedServer, LoadResult, cores, median, run_load
from bench.peers.build import CannotBuild, build_program
from tests.journey.instance import CLIENT, SEED, Instance
from tests.ports import free_port

SECONDS, ROUNDS, STARTS = 1.0, 7, 5
REFERENCE = "reference proxy v1.6.0"
# The start is compared with a time and not with the reference, which has nothing to import. It is processor
# time: other programs on the core do not count.
START_SECONDS = 0.5
_PATH = (
    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net"
)
_READY_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarCommand:
    """A command that runs a sidecar, its environment, and the core on which it runs."""

    command: list[str]
    environ: Mapping[str, str]
    core: int


def run() -> Iterator[rows.Row]:
    """Measure and yield the rows of the table."""
    server_core, load_core = cores()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {load_core})
    try:
        with (
            tempfile.TemporaryDirectory(prefix="podpass-bench-") as name,
            _environment(Path(name)) as environ,
        ):
            yield from _measure(_sidecars(environ, server_core))
    finally:
        os.sched_setaffinity(0, allowed)


def _measure(sidecars: Mapping[str, SidecarCommand]) -> Iterator[rows.Row]:
    starts: dict[str, list[float]] = {name: [] for name in sidecars}
    used: list[float] = []
    for _ in range(STARTS):
        for name, sidecar in sidecars.items():
            with _running(sidecar, starts[name]) as server:
                if name == "ours":
                    used.append(server.core_seconds())
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(_running(sidecar, [])) for name, sidecar in sidecars.items()
        }
        for count in (1, 16):
            yield from _load_rows(count, uvloop.run(_loads(servers, count)))
        yield from _memory_rows({name: _resident_mb(each.pid) for name, each in servers.items()})
    # The shortest start: the others show the load of the machine.
    yield from _start_rows({name: min(each) for name, each in starts.items()}, min(used))


@contextmanager
def _environment(folder: Path) -> Iterator[dict[str, str]]:
    """Run an instance, and yield the environment of a pod whose token it trusts."""
    (folder / "seed.yaml").write_text(SEED)
    instance = Instance(folder / "data")
    try:
        instance.up("--seed", str(folder / "seed.yaml"))
        instance.account("web")
        (folder / "token").write_text(instance.token("web"))
        lines = instance.podpass("run", "--", "env").stdout.splitlines()
        yield {
            **dict(line.split("=", 1) for line in lines if "=" in line),
            "AZURE_TENANT_ID": instance.status["tenant_id"],
            "AZURE_FEDERATED_TOKEN_FILE": str(folder / "token"),
            "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
            "AZURE_CLIENT_ID": CLIENT,
            "GOMAXPROCS": "1",
        }
    finally:
        instance.podpass("down", check=False)


def _sidecars(environ: Mapping[str, str], core: int) -> dict[str, SidecarCommand]:
    ours = [sys.executable, "-m", "podpass.cli", "proxy"]
    found = {"ours": SidecarCommand(command=ours, environ=environ, core=core)}
    try:
        reference = str(build_program("azwi-proxy"))
    except CannotBuild as exc:
        print(f"SKIPPED: {REFERENCE}: {exc}", file=sys.stderr)
        return found
    return found | {REFERENCE: SidecarCommand(command=[reference], environ=environ, core=core)}


@contextmanager
def _running(sidecar: SidecarCommand, seconds: list[float]) -> Iterator[LoadedServer]:
    """Run a sidecar until it has a token in its cache; append the seconds until it was ready."""
    port = free_port()
    began = time.perf_counter()
    with subprocess.Popen(
        [*sidecar.command, f"--proxy-port={port}"],
        env=sidecar.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {sidecar.core}),
    ) as child:
        try:
            while not _is_ready(port):
                if time.perf_counter() > began + _READY_SECONDS or child.poll() is not None:
                    raise RuntimeError(f"{sidecar.command} is not ready")
                time.sleep(0.002)
            seconds.append(time.perf_counter() - began)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{_PATH}", timeout=60) as answer:
                if not json.load(answer)["access_token"]:
                    raise RuntimeError(f"{sidecar.command} returns no token")
            yield LoadedServer(port=port, pid=child.pid)
        finally:
            child.kill()


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


async def _loads(servers: Mapping[str, LoadedServer], count: int) -> dict[str, LoadResult]:
    request = f"GET {_PATH} HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n".encode()
    loads: dict[str, list[LoadResult]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        # The servers alternate, so the load of other programs affects all of them equally.
        for name, server in servers.items():
            one = await run_load(request, server, None, connections=count, seconds=SECONDS)
            loads[name].append(one)
    return {name: median(each) for name, each in loads.items()}


def _load_rows(count: int, loads: Mapping[str, LoadResult]) -> Iterator[rows.Row]:
    ours = loads["ours"]
    name = f"proxy, cached token, {count} connection{'s' if count > 1 else ''}"
    if REFERENCE not in loads:
        yield rows.row(f"{name}, requests", f"{ours.per_second:,.0f} /s", "", None)
        yield rows.row(f"{name}, p99", f"{ours.p99_ms:.2f} ms", "", None)
        return
    its = loads[REFERENCE]
    for what, mine, other in (
        ("requests", ours.per_second, its.per_second),
        ("per core second", ours.per_core_second, its.per_core_second),
    ):
        peer = f"{REFERENCE} {other:,.0f}"
        yield rows.row(f"{name}, {what}", f"{mine:,.0f} /s", peer, mine / other)
    for what, mine, other in (("p50", ours.p50_ms, its.p50_ms), ("p99", ours.p99_ms, its.p99_ms)):
        most = 1.0 if (what, count) == ("p99", 1) else None
        peer = f"{REFERENCE} {other:.2f}"
        yield rows.row(f"{name}, {what}", f"{mine:.2f} ms", peer, mine / other, most=most)


def _memory_rows(found: Mapping[str, float]) -> Iterator[rows.Row]:
    value, its = f"{found['ours']:.0f} MB", found.get(REFERENCE)
    ratio = found["ours"] / its if its else None
    peer = f"{REFERENCE} {its:.0f}" if its else ""
    yield rows.row("proxy, memory after the load", value, peer, ratio, most=1.3)


def _start_rows(found: Mapping[str, float], used: float) -> Iterator[rows.Row]:
    name, bound = "proxy, start and first token, processor time", f"at most {START_SECONDS} s"
    yield rows.row(name, f"{used:.2f} s", bound, used / START_SECONDS, most=1.0)
    seconds, its = found["ours"], found.get(REFERENCE)
    peer, ratio = (f"{REFERENCE} {its:.2f}", seconds / its) if its else ("", None)
    yield rows.row("proxy, start to ready", f"{seconds:.2f} s", peer, ratio)


def _resident_mb(pid: int) -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
