"""kubeling and a real kube-apiserver with etcd, as envtest starts them: time to ready, memory, reset.

    python -m bench kubeling

The memory is the proportional set size (PSS) of all processes, after a second without requests: pages that
processes share count once. A reset removes a namespace with its objects.
"""

import contextlib
import http.client
import os
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.peers.build import CannotBuild
from bench.peers.controlplane import VERSIONS
from bench.peers.kubernetes import assets
from bench.rows import Row, row

ROUNDS, OBJECTS = 5, 50
READY_SECONDS, MEGABYTES, RESET_MILLISECONDS, HELP_MILLISECONDS = 0.5, 50.0, 10.0, 100.0
_KUBELING = [sys.executable, "-m", "kubeling"]
_READY_TIMEOUT = 120.0
_SETTLE_SECONDS = 1.0


def run() -> Iterator[Row]:
    """Measure and yield the rows of the table."""
    for name, words in (("with a node", []), ("without a node", ["--no-node"])):
        seconds, memory = _median(_start_kubeling(words) for _ in range(ROUNDS))
        target = f"target {READY_SECONDS} s"
        ratio = seconds / READY_SECONDS
        yield row(f"kubeling: up to ready, {name}", f"{seconds:.2f} s", target, ratio, most=1)
        target = f"target {MEGABYTES:.0f} MB"
        ratio = memory / MEGABYTES
        yield row(f"kubeling: memory {name} (PSS)", f"{memory:.0f} MB", target, ratio, most=1)
    yield from _peer(seconds, memory)
    yield _reset()
    took = statistics.median(_seconds([*_KUBELING, "--help"]) * 1000 for _ in range(ROUNDS))
    target = f"target {HELP_MILLISECONDS:.0f} ms"
    yield row("kubeling --help", f"{took:.0f} ms", target, took / HELP_MILLISECONDS, most=1)


def _peer(seconds: float, memory: float) -> Iterator[Row]:
    """Compare with a real API server without a node."""
    try:
        programs = assets(VERSIONS[0])
    except CannotBuild as exc:
        print(f"SKIPPED: a real API server: {exc}", file=sys.stderr)
        return
    name = f"kube-apiserver {VERSIONS[0]} and etcd"
    theirs, their_memory = _median(_start_control_plane(programs) for _ in range(ROUNDS))
    peer, ratio = f"{name} {theirs:.1f} s", seconds / theirs
    yield row("kubeling: up to ready, without a node", f"{seconds:.2f} s", peer, ratio)
    peer, ratio = f"{name} {their_memory:.0f} MB", memory / their_memory
    yield row("kubeling: memory without a node (PSS)", f"{memory:.0f} MB", peer, ratio)


def _median(measured: Iterator[tuple[float, float]]) -> tuple[float, float]:
    seconds, memory = zip(*measured, strict=True)
    return statistics.median(seconds), statistics.median(memory)


def _start_kubeling(words: list[str]) -> tuple[float, float]:
    """Start a cluster; return the seconds to the ready line, and the memory."""
    began = time.perf_counter()
    with subprocess.Popen(
        [*_KUBELING, "up", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - began
        time.sleep(_SETTLE_SECONDS)
        memory = _tree_mb(process.pid)
        process.terminate()
    return seconds, memory


def _start_control_plane(programs: Path) -> tuple[float, float]:
    """Start etcd and kube-apiserver with the settings of envtest; return seconds and memory."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        key = folder / "accounts.key"
        _seconds(["openssl", "genrsa", "-out", str(key), "2048"])
        client, peer, secure = _free_ports(3)
        began = time.perf_counter()
        etcd = [
            str(programs / "etcd"),
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls=http://127.0.0.1:{client}",
            f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync=true",
        ]
        api_server = [
            str(programs / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{client}",
            f"--cert-dir={folder / 'certificates'}",
            f"--secure-port={secure}",
            "--bind-address=127.0.0.1",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
            "--service-account-issuer=https://127.0.0.1/",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
        ]
        started = [stack.enter_context(_process(each)) for each in (etcd, api_server)]
        end = began + _READY_TIMEOUT
        while not _is_ready(secure):
            if time.perf_counter() > end:
                raise TimeoutError("kube-apiserver is not ready")
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        time.sleep(_SETTLE_SECONDS)
        return seconds, sum(_tree_mb(each.pid) for each in started)


@contextlib.contextmanager
def _process(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def _is_ready(port: int) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [each.getsockname()[1] for each in sockets]


def _reset() -> Row:
    """Measure a reset that removes the objects of a test."""
    import asyncio

    from kubeling import Cluster

    async def measure() -> list[float]:
        found = []
        async with Cluster(node=False) as cluster:
            for _ in range(ROUNDS):
                namespace = cluster.namespace()
                path = f"/api/v1/namespaces/{namespace}/configmaps"
                for number in range(OBJECTS):
                    await cluster.api.create(path, {"metadata": {"name": f"map-{number}"}})
                began = time.perf_counter()
                cluster.reset()
                found.append((time.perf_counter() - began) * 1000)
        return found

    took = statistics.median(asyncio.run(measure()))
    name = f"kubeling: reset after a test with {OBJECTS} objects"
    target = f"target {RESET_MILLISECONDS:.0f} ms"
    return row(name, f"{took:.1f} ms", target, took / RESET_MILLISECONDS, most=1)


def _tree_mb(pid: int) -> float:
    """Return the memory of a process and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    own = re.search(
        r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE
    )
    assert own is not None
    return int(own[1]) / 1024 + sum(map(_tree_mb, map(int, children)))


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=dict(os.environ), check=True, capture_output=True)
    return time.perf_counter() - began
