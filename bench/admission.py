"""The webhook on one core, compared with the reference's process and a bare server in the same run.

Both webhooks are complete processes over TLS keep-alive with a minimal API server (`bench.fake_api_server`).
Measured are the requests per second and the memory, idle and with ten thousand ServiceAccounts under load.
Both webhooks log at the level that their charts set.
The bare server is our HTTP server with a constant response of the same size: the limit of this stack. The
reference is built once with Go into a cache outside the tree.
"""

import asyncio
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
import uvloop

from bench import rows
from bench.fake_api_server import FakeApiServer, kubeconfig
from bench.load import LoadedServer, LoadResult, cores, median, run_load
from bench.peers.build import CannotBuild, build_program
from podpass.http.server import (
    App,
    Receive,
    Scope,
    Send,
    bind,
    read_body,
    respond,
    server_tls,
    serving,
)

SECONDS, ROUNDS = 1.0, 5
REFERENCE = "reference webhook v1.6.0"
REFERENCE_PORT = 9443  # the reference cannot listen on another port
ACCOUNTS = 10_000
_LOG_LEVEL = "--log-level=info"  # the default of both charts
# The reference's memory at the time of the design: idle, and with ten thousand accounts under load.
IDLE_MB, LOADED_MB = 36.0, 82.0
_ANSWER_BYTES = 3537  # the size of the webhook's response to the longer review
_HERE = Path(__file__).parent
_TENANT = "11111111-2222-3333-4444-555555555555"
_START_SECONDS, _LOAD_SECONDS = 60, 5.0


def review(containers: int = 3, settings: int = 18, owned: int = 53) -> bytes:
    """Return an AdmissionReview of 6.7 KB: a Deployment's pod with three containers."""
    probe: dict[str, Any] = {
        "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
        "periodSeconds": 10,
    }
    made: list[dict[str, Any]] = [
        {
            "name": f"part-{number}",
            "image": f"registry.example/shop/part-{number}:1.42.0",
            "env": [
                {"name": f"SETTING_{name}", "value": f"value of {name}"} for name in range(settings)
            ],
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m"}},
            "livenessProbe": {**probe, "failureThreshold": 3},
            "readinessProbe": {**probe, "successThreshold": 1},
            "terminationMessagePath": "/dev/termination-log",
            "securityContext": {"runAsNonRoot": True, "readOnlyRootFilesystem": True},
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
            ],
        }
        for number in range(containers)
    ]
    fields: dict[str, Any] = {f"f:{name}": {".": {}, "f:value": {}} for name in range(owned)}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "shop-6d4cf56db6-",
            "namespace": "default",
            "labels": {"app": "shop", "azure.workload.identity/use": "true"},
            "annotations": {f"example.com/note-{n}": "a note of some length" for n in range(4)},
            "managedFields": [{"manager": "controller", "fieldsV1": {"f:spec": fields}}],
        },
        "spec": {
            "serviceAccountName": "sa",
            "containers": made,
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "token", "emptyDir": {}}],
        },
    }
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    request: dict[str, Any] = {
        "uid": "0" * 36,
        "kind": kind,
        "namespace": "default",
        "operation": "CREATE",
    }
    request |= {"userInfo": {"username": "system:admin"}, "object": pod, "dryRun": False}
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(body, separators=(",", ":")).encode()


def reviews() -> dict[str, bytes]:
    """Return the measured reviews by their size."""
    return {"3.3 KB": review(containers=1, settings=15, owned=37), "6.7 KB": review()}


def run() -> list[rows.Row]:
    """Measure and yield the rows of the table."""
    server_core, load_core = cores()
    if server_core == load_core:
        print("admission: one core only, server and load share it", file=sys.stderr)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {load_core})
    try:
        return uvloop.run(_run(server_core))
    finally:
        os.sched_setaffinity(0, allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchEnvironment:
    """The folder with the servers' certificate, the core of the servers, and the clients' trust.

    `core` is None for servers that are not pinned.
    """

    folder: Path
    core: int | None
    tls: ssl.SSLContext


async def _run(core: int) -> list[rows.Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ca = trustme.CA()
        leaf = ca.issue_cert("localhost")
        leaf.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
        leaf.private_key_pem.write_to_path(str(folder / "tls.key"))
        tls = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
        place = BenchEnvironment(folder=folder, core=core, tls=tls)
        return [*await _speed(place), *await _memory(place)]


async def _speed(place: BenchEnvironment) -> list[rows.Row]:
    found = list[rows.Row]()
    async with _run_servers(place, accounts=1) as servers, _bare(place) as bare:
        for size, body in reviews().items():
            for count in (1, 16):
                loads = await _loads({**servers, "bare": bare}, place.tls, body, count)
                found += _rows(size, count, loads)
    return found


async def _memory(place: BenchEnvironment) -> list[rows.Row]:
    """Measure memory: idle with one account, and under load with many accounts."""
    body = reviews()["6.7 KB"]
    async with _run_servers(place, accounts=1) as servers:
        await asyncio.sleep(1)
        idle = {name: _resident_mb(server) for name, server in servers.items()}
    async with _run_servers(place, accounts=ACCOUNTS) as servers:
        loaded = {}
        for name, server in servers.items():
            await run_load(_request(body), server, place.tls, connections=16, seconds=_LOAD_SECONDS)
            loaded[name] = _resident_mb(server)
    many = f"{ACCOUNTS:,} accounts under load"
    return [
        *_memory_rows("idle", idle, IDLE_MB, most=1.5),
        *_memory_rows(many, loaded, LOADED_MB, most=1.0),
    ]


def _memory_rows(
    when: str, found: Mapping[str, float], theirs: float, *, most: float
) -> Iterator[rows.Row]:
    name, ours = f"admission, memory, {when}", found["ours"]
    value = f"{ours:.0f} MB"
    yield rows.row(name, value, f"reference as designed for {theirs:.0f}", ours / theirs, most=most)
    if REFERENCE in found:
        its = found[REFERENCE]
        yield rows.row(name, value, f"{REFERENCE} {its:.0f}", ours / its)


def _resident_mb(server: LoadedServer) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _request(body: bytes) -> bytes:
    head = (
        "POST /mutate-v1-pod HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _loads(
    servers: Mapping[str, LoadedServer], tls: ssl.SSLContext, body: bytes, count: int
) -> dict[str, LoadResult]:
    for name, server in servers.items():
        answer = await asyncio.to_thread(_first_answer, server.port, tls, body)
        if name != "bare" and not (b'"allowed":true' in answer and b'"patch":' in answer):
            raise RuntimeError(f"{name} does not mutate the pod: {answer[:300]!r}")
    loads: dict[str, list[LoadResult]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        # The servers alternate, so the load of other programs affects all of them equally.
        for name, server in servers.items():
            one = await run_load(_request(body), server, tls, connections=count, seconds=SECONDS)
            loads[name].append(one)
    return {name: median(rounds) for name, rounds in loads.items()}


def _first_answer(port: int, tls: ssl.SSLContext, body: bytes) -> bytes:
    connection = http.client.HTTPSConnection("localhost", port, context=tls, timeout=10)
    headers = {"content-type": "application/json"}
    connection.request("POST", "/mutate-v1-pod", body, headers)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def _rows(size: str, count: int, loads: Mapping[str, LoadResult]) -> Iterator[rows.Row]:
    ours = loads["ours"]
    name = f"admission, {size}, {count} connection{'s' if count > 1 else ''}"
    for peer, its in loads.items():
        if peer == "ours":
            continue
        held = peer == REFERENCE and (size, count) == ("6.7 KB", 16)
        least, most = (4.0, 1 / 3) if held else (None, None)
        per_second = (ours.per_second, its.per_second)
        yield _row(f"{name}, requests", "/s", peer, *per_second, least=least)
        per_core = (ours.per_core_second, its.per_core_second)
        yield _row(f"{name}, per core second", "/s", peer, *per_core)
        yield _row(f"{name}, p50", "ms", peer, ours.p50_ms, its.p50_ms)
        yield _row(f"{name}, p99", "ms", peer, ours.p99_ms, its.p99_ms, most=most)


def _row(
    name: str, unit: str, peer: str, ours: float, its: float, **held: float | None
) -> rows.Row:
    digits = 2 if unit == "ms" else 0
    value, shown = f"{ours:,.{digits}f} {unit}", f"{peer} {its:,.{digits}f}"
    return rows.row(name, value, shown, ours / its, **held)


# ------------------------------------------------------------------------------------------ servers


@asynccontextmanager
async def _run_servers(
    place: BenchEnvironment, *, accounts: int
) -> AsyncIterator[dict[str, LoadedServer]]:
    """Run our webhook and, if it is available, the reference, with one API server."""
    sock = bind("127.0.0.1", 0)
    config = place.folder / "kubeconfig"
    config.write_text(kubeconfig(sock))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(FakeApiServer(accounts).app, sock))
        servers = {"ours": await stack.enter_async_context(run_webhook(place, config))}
        reference = await stack.enter_async_context(run_reference(place, config))
        yield servers | ({REFERENCE: reference} if reference else {})


@asynccontextmanager
async def run_webhook(place: BenchEnvironment, config: Path) -> AsyncIterator[LoadedServer]:
    webhook, health = free_port(), free_port()
    command = [sys.executable, "-m", "podpass.cli", "webhook"]
    command += [f"--kubeconfig={config}", f"--webhook-cert-dir={place.folder}"]
    command += ["--disable-cert-rotation=true", f"--webhook-addr=127.0.0.1:{webhook}"]
    command += [f"--health-addr=127.0.0.1:{health}", "--metrics-addr=127.0.0.1:0", _LOG_LEVEL]
    environ = {**os.environ, "AZURE_TENANT_ID": _TENANT}
    async with _process(command, environ, place, "ours") as child:
        for _ in range(_START_SECONDS * 10):
            if await asyncio.to_thread(_is_ready, health):
                break
            await asyncio.sleep(0.1)
        else:
            raise RuntimeError((place.folder / "ours.log").read_text()[-2000:])
        yield LoadedServer(port=webhook, pid=child.pid)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@asynccontextmanager
async def _process(
    command: list[str], environ: Mapping[str, str], place: BenchEnvironment, name: str
) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """Run a process on the servers' core and stop it at the end."""
    log = place.folder / f"{name}.log"
    with subprocess.Popen(  # noqa: ASYNC220 at once
        command,
        env=environ,
        cwd=_HERE.parent,
        stdout=subprocess.DEVNULL,
        stderr=log.open("wb"),
        preexec_fn=lambda: None if place.core is None else os.sched_setaffinity(0, {place.core}),
    ) as child:
        try:
            yield child
        finally:
            child.kill()


@asynccontextmanager
async def _bare(place: BenchEnvironment) -> AsyncIterator[LoadedServer]:
    port = free_port()
    command = [sys.executable, "-m", "bench.admission", "bare", str(place.folder), str(port)]
    async with _process(command, os.environ, place, "bare") as child:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            await asyncio.sleep(0.05)
        yield LoadedServer(port=port, pid=child.pid)


def _constant_app(size: int) -> App:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive, 1 << 20)
        await respond(send, 200, b" " * size)

    return app


async def _serve_bare(folder: Path, port: int) -> None:
    tls = server_tls(str(folder / "tls.crt"), str(folder / "tls.key"))
    async with serving(_constant_app(_ANSWER_BYTES), bind("127.0.0.1", port), tls):
        await asyncio.Event().wait()


@asynccontextmanager
async def run_reference(
    place: BenchEnvironment, config: Path
) -> AsyncIterator[LoadedServer | None]:
    """Run the reference's webhook; yield None and print a line if it is not available."""
    binary = await asyncio.to_thread(_build)
    if binary is None:
        yield None
        return
    command = [str(binary), f"--webhook-cert-dir={place.folder}", "--disable-cert-rotation=true"]
    command += ["--health-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0", _LOG_LEVEL]
    environ = {"KUBECONFIG": str(config), "AZURE_TENANT_ID": "t", "GOMAXPROCS": "1"}
    async with _process(command, environ, place, "reference") as child:
        server = LoadedServer(port=REFERENCE_PORT, pid=child.pid)
        yield server if await _wait_until_listening(child) else None


def _skip(why: str) -> None:
    print(f"SKIPPED: the ratio to the {REFERENCE}: {why}", file=sys.stderr)


def _build() -> Path | None:
    """Build the reference; the first build takes about three minutes."""
    try:
        return build_program("azwi-webhook")
    except CannotBuild as exc:
        _skip(str(exc))
        return None


async def _wait_until_listening(child: "subprocess.Popen[bytes]") -> bool:
    for _ in range(_START_SECONDS * 10):
        if child.poll() is not None:
            _skip(f"it exited with {child.returncode}; is port {REFERENCE_PORT} free?")
            return False
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", REFERENCE_PORT)) == 0:
                return True
        await asyncio.sleep(0.1)
    _skip(f"it does not listen on port {REFERENCE_PORT}")
    return False


def main() -> None:
    """Run a server as a child process, or measure and print the rows."""
    if len(sys.argv) > 1:
        uvloop.run(_serve_bare(Path(sys.argv[2]), int(sys.argv[3])))
    rows.print_rows(run())


if __name__ == "__main__":
    main()
