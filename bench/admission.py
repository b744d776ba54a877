"""The webhook on one core, over TLS keep-alive, beside the reference's and a bare path of the same run.

The bare path is the same server answering a constant of the same size, and so the limit of this stack. The
reference is built once with Go from `bench/reference` into a cache outside the tree, and asks a Kubernetes
API of a few lines here for the one ServiceAccount.
"""

import asyncio
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import trustme
import uvloop

from bench.load import Load, Server, cores, load, median
from podpass import log
from podpass.admission.app import create_app
from podpass.serve import App, Receive, Scope, Send, bind, read_body, respond, server_tls, serving
from podpass.settings import WebhookSettings

SECONDS, ROUNDS = 1.0, 5
REFERENCE = "reference webhook v1.6.0"
REFERENCE_PORT = 9443  # fixed in the reference
_ANSWER_BYTES = 3537  # what the webhook answers to the review below
_HERE = Path(__file__).parent
_ANNOTATIONS = {"azure.workload.identity/client-id": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"}


def review() -> bytes:
    """Make an AdmissionReview of 6.7 KB: a deployment's pod of three containers."""
    probe: dict[str, Any] = {
        "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
        "periodSeconds": 10,
    }
    containers: list[dict[str, Any]] = [
        {
            "name": f"part-{number}",
            "image": f"registry.example/shop/part-{number}:1.42.0",
            "env": [{"name": f"SETTING_{name}", "value": f"value of {name}"} for name in range(18)],
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
        for number in range(3)
    ]
    fields: dict[str, Any] = {f"f:{name}": {".": {}, "f:value": {}} for name in range(53)}
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
            "containers": containers,
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


def run() -> list[dict[str, str]]:
    """Measure, and give rows of name, value, peer and ratio."""
    server_core, load_core = cores()
    if server_core == load_core:
        print("admission: one core only, server and load share it", file=sys.stderr)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {load_core})
    try:
        return uvloop.run(_run(server_core))
    finally:
        os.sched_setaffinity(0, allowed)


async def _run(core: int) -> list[dict[str, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ca = trustme.CA()
        leaf = ca.issue_cert("localhost")
        leaf.cert_chain_pems[0].write_to_path(str(folder / "tls.crt"))
        leaf.private_key_pem.write_to_path(str(folder / "tls.key"))
        tls = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
        with _child("ours", folder, core) as ours, _child("bare", folder, core) as bare:
            async with _reference(folder, core) as reference:
                servers = {"ours": ours, "bare": bare} | (
                    {REFERENCE: reference} if reference else {}
                )
                return [row for n in (1, 16) for row in _rows(n, await _loads(servers, tls, n))]


async def _loads(servers: Mapping[str, Server], tls: ssl.SSLContext, count: int) -> dict[str, Load]:
    body = review()
    head = (
        "POST /mutate-v1-pod HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    for name, server in servers.items():
        answer = await asyncio.to_thread(_first_answer, server.port, tls, body)
        if name != "bare" and not (b'"allowed":true' in answer and b'"patch":' in answer):
            raise RuntimeError(f"{name} does not mutate the pod: {answer[:300]!r}")
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        # In turn, so that a neighbour's busy second falls on all alike.
        for name, server in servers.items():
            one = await load(request, server, tls, connections=count, seconds=SECONDS)
            loads[name].append(one)
    return {name: median(rounds) for name, rounds in loads.items()}


def _first_answer(port: int, tls: ssl.SSLContext, body: bytes) -> bytes:
    connection = http.client.HTTPSConnection("localhost", port, context=tls, timeout=10)
    headers = {"content-type": "application/json"}
    connection.request("POST", "/mutate-v1-pod", body, headers)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def _rows(count: int, loads: Mapping[str, Load]) -> Iterator[dict[str, str]]:
    ours = loads["ours"]
    name = f"admission, {count} connection{'s' if count > 1 else ''}"
    for peer, its in loads.items():
        if peer == "ours":
            continue
        yield _row(f"{name}, requests", "/s", peer, ours.per_second, its.per_second)
        per_core = (ours.per_core_second, its.per_core_second)
        yield _row(f"{name}, per core second", "/s", peer, *per_core)
        yield _row(f"{name}, p50", "ms", peer, ours.p50_ms, its.p50_ms)
        yield _row(f"{name}, p99", "ms", peer, ours.p99_ms, its.p99_ms)


def _row(name: str, unit: str, peer: str, ours: float, its: float) -> dict[str, str]:
    digits = 2 if unit == "ms" else 0
    return {
        "name": name,
        "value": f"{ours:,.{digits}f} {unit}",
        "peer": f"{peer} {its:,.{digits}f}",
        "ratio": f"{ours / its:.2f}",
    }


@contextmanager
def _child(what: str, folder: Path, core: int) -> Iterator[Server]:
    """Run one of our servers in a process of its own, on a core of its own."""
    command = [sys.executable, "-m", "bench.admission", what, str(folder), str(core)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_HERE.parent) as child:
        assert child.stdout is not None
        try:
            yield Server(port=int(child.stdout.readline()), pid=child.pid)
        finally:
            child.terminate()


class _OneAccount:
    async def annotations(self, namespace: str, name: str) -> Mapping[str, str]:  # noqa: ARG002
        return _ANNOTATIONS


def _constant(size: int) -> App:
    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive, 1 << 20)
        await respond(send, 200, b" " * size)

    return app


async def _serve(what: str, folder: Path) -> None:
    log.configure(level="warning")  # as the reference, which is run at its default level
    settings = WebhookSettings(tenant_id="11111111-2222-3333-4444-555555555555")
    app = create_app(settings, _OneAccount()) if what == "ours" else _constant(_ANSWER_BYTES)
    sock = bind("127.0.0.1", 0)
    tls = server_tls(str(folder / "tls.crt"), str(folder / "tls.key"))
    async with serving(app, sock, tls):
        print(sock.getsockname()[1], flush=True)
        await asyncio.Event().wait()


@asynccontextmanager
async def _reference(folder: Path, core: int) -> AsyncIterator[Server | None]:
    """Run the reference's webhook; None, and a loud line, where it cannot be had."""
    binary = await asyncio.to_thread(_build)
    if binary is None:
        yield None
        return
    sock = bind("127.0.0.1", 0)
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(_kubeconfig(sock.getsockname()[1]))
    command = [str(binary), f"--webhook-cert-dir={folder}", "--disable-cert-rotation=true"]
    command += ["--health-addr=127.0.0.1:0", "--metrics-addr=127.0.0.1:0"]
    environ = {"KUBECONFIG": str(kubeconfig), "AZURE_TENANT_ID": "t", "GOMAXPROCS": "1"}
    async with serving(_kubernetes, sock):
        with subprocess.Popen(  # noqa: ASYNC220 at once
            command,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "reference.log").open("wb"),
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        ) as child:
            try:
                server = Server(port=REFERENCE_PORT, pid=child.pid)
                yield server if await _listens(child) else None
            finally:
                child.terminate()


def _skip(why: str) -> None:
    print(f"SKIPPED: the ratio to the {REFERENCE}: {why}", file=sys.stderr)


def _build() -> Path | None:
    """Build the reference once; about three minutes the first time."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "podpass" / "bench"
    binary = cache / "webhook-v1.6.0"
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        _skip("there is no `go` to build it with")
        return None
    print(f"building the {REFERENCE} in {cache}, once", file=sys.stderr)
    shutil.copytree(_HERE / "reference", cache / "src", dirs_exist_ok=True)
    package = "github.com/Azure/azure-workload-identity/cmd/webhook"
    command = ["go", "build", "-mod=mod", "-o", str(binary), package]
    done = subprocess.run(command, cwd=cache / "src", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        _skip(f"it does not build: {done.stderr.strip()[-300:]}")
        return None
    return binary


async def _listens(child: subprocess.Popen[bytes]) -> bool:
    for _ in range(300):
        if child.poll() is not None:
            _skip(f"it ended with {child.returncode}; is port {REFERENCE_PORT} free?")
            return False
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", REFERENCE_PORT)) == 0:
                return True
        await asyncio.sleep(0.1)
    _skip(f"it does not listen on port {REFERENCE_PORT}")
    return False


def _kubeconfig(port: int) -> str:
    one = {"name": "bench"}
    cluster = {**one, "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {**one, "context": {"cluster": "bench", "user": "bench"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "bench"}
    lists = {"clusters": [cluster], "contexts": [context], "users": [{**one, "user": {}}]}
    return json.dumps({**config, **lists})


_VERBS = ["get", "list", "watch"]
_KUBERNETES = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.4"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {
                "name": "serviceaccounts",
                "namespaced": True,
                "kind": "ServiceAccount",
                "verbs": _VERBS,
            }
        ],
    },
    "/api/v1/serviceaccounts": {
        "kind": "ServiceAccountList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"},
        "items": [
            {"metadata": {"name": "sa", "namespace": "default", "annotations": _ANNOTATIONS}}
        ],
    },
}


async def _kubernetes(scope: Scope, receive: Receive, send: Send) -> None:
    """Be as much of a Kubernetes API as the reference's start asks for."""
    if "watch" in parse_qs(scope["query_string"].decode()):
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    found = _KUBERNETES.get(scope["path"])
    await respond(send, 200 if found else 404, json.dumps(found or {}).encode())


def main() -> None:
    """Serve as a child of a run, or measure and print."""
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[3])})
        uvloop.run(_serve(sys.argv[1], Path(sys.argv[2])))
    for row in run():
        print(f"{row['name']:50} {row['value']:>14} {row['peer']:>36} {row['ratio']:>8}")


if __name__ == "__main__":
    main()
