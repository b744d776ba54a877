"""The endpoint of the kubelet: logs of containers, and streams to them, for the API server only.

An API server in the same process calls `KubeletApp`. A real one connects to a port: logs may contain secrets,
and commands run as the user of the kubelet, so there each request needs the client certificate of the API
server.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

import orjson

from kubeling import int64
from kubeling.asgi import App, Receive, Scope, Send, raw_path, respond, wait_for_disconnect
from kubeling.clock import Clock
from kubeling.kubelet import logs
from kubeling.kubelet.container_run import ContainerRun
from kubeling.kubelet.container_state import ContainerRecord, Waiting
from kubeling.kubelet.errors import KubeletError
from kubeling.kubelet.logs import LogActivity, LogOptions
from kubeling.kubelet.pod_worker import PodWorker
from kubeling.tasks import run_until_first

if TYPE_CHECKING:
    from kubeling.kubelet.streaming.endpoints import StreamingEndpoints

API_SERVER_CLIENT = "kube-apiserver-kubelet-client"

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)
_JSON = ((b"content-type", b"application/json"),)

FindWorker = Callable[[str, str], PodWorker | None]


class KubeletApp:
    """The application for callers that were authenticated.

    `find` returns the worker of a pod, and `list_workers` those of all pods.
    """

    def __init__(
        self, find: FindWorker, list_workers: Callable[[], Sequence[PodWorker]], clock: Clock
    ) -> None:
        self._find, self._list, self._clock = find, list_workers, clock
        self._endpoints: StreamingEndpoints | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._route((scope, receive, send))
        except KubeletError as exc:
            await respond(scope, send, exc.status, exc.message.encode() + b"\n", _TEXT)

    async def _route(self, call: tuple[Scope, Receive, Send]) -> None:
        """Respond to a request; a stream ends with its connection. Raises KubeletError."""
        scope, receive, send = call
        parts = [unquote(part) for part in raw_path(scope).strip("/").split("/")]
        method = scope.get("method", "GET")  # a WebSocket handshake is a GET
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        match parts:
            case ["proxy", _, _, _, _, *_]:
                await self._proxy(call)
            case ["exec" | "attach" | "portForward", *_] if method not in ("GET", "POST"):
                raise KubeletError(405, "only GET and POST are supported")
            case ["exec", namespace, pod, container]:
                run = self._run(namespace, pod, container)
                await self._streams().execute(call, run, query)
            case ["attach", namespace, pod, container]:
                run = self._run(namespace, pod, container)
                await self._streams().attach(call, run, query)
            case ["portForward", namespace, pod]:
                connect = self._worker(namespace, pod).connect
                await self._streams().forward(call, f"{namespace}/{pod}", connect, query)
            case _ if method not in ("GET", "HEAD"):
                raise KubeletError(405, "only GET is supported")
            case ["healthz"]:
                await respond(scope, send, 200, b"ok", _TEXT)
            case ["pods"]:
                pods = [worker.pod for worker in self._list()]
                found = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}
                await respond(scope, send, 200, orjson.dumps(found), _JSON)
            case ["metrics"]:
                await respond(scope, send, 200, self._metrics(), _TEXT)
            case ["containerLogs", namespace, pod, container]:
                worker, previous = self._worker(namespace, pod), _parse_flag(query, "previous")
                path, activity = _find_log(worker, pod, container, previous=previous)
                log_options = parse_log_options(query, self._clock())
                await _stream_log(
                    logs.read_log(path, log_options, activity=activity), receive, send
                )
            case _:
                raise KubeletError(404, "not found")

    def _metrics(self) -> bytes:
        """Return the kubelet's metrics of pods and containers in the text format of Prometheus."""
        running = [each.containers.running_count for each in self._list()]
        return (
            "# TYPE kubelet_running_pods gauge\n"
            f"kubelet_running_pods {sum(map(bool, running))}\n"
            "# TYPE kubelet_running_containers gauge\n"
            f'kubelet_running_containers{{container_state="running"}} {sum(running)}\n'
        ).encode()

    async def _proxy(self, call: tuple[Scope, Receive, Send]) -> None:
        """Send a request on to `/proxy/<namespace>/<pod>/<scheme>/<port>/<path>`."""
        scope, receive, send = call
        _, namespace, pod, scheme, port, *path = raw_path(scope).removeprefix("/").split("/", 5)
        worker = self._worker(unquote(namespace), unquote(pod))
        target = {**scope, "raw_path": "/".join(["", *path]).encode()}
        await worker.forward((target, receive, send), scheme, int(port))

    def _streams(self) -> "StreamingEndpoints":
        # Imported by the first request: most instances are never asked, and start faster without.
        from kubeling.kubelet.streaming.endpoints import StreamingEndpoints

        if self._endpoints is None:
            self._endpoints = StreamingEndpoints()
        return self._endpoints

    def _worker(self, namespace: str, pod: str) -> PodWorker:
        if (worker := self._find(namespace, pod)) is None:
            raise KubeletError(404, f'pod "{pod}" not found on this node')
        return worker

    def _run(self, namespace: str, pod: str, container: str) -> ContainerRun:
        run = self._worker(namespace, pod).containers.find_run(container)
        if run is None:
            raise KubeletError(404, f'container not found ("{container}")')
        return run


def require_api_server(app: App) -> App:
    """Return the application for a port: it refuses every client except the API server."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            _check_client(scope)
        except KubeletError as exc:
            await respond(scope, send, exc.status, exc.message.encode() + b"\n", _TEXT)
        else:
            await app(scope, receive, send)

    return checked


def _check_client(scope: Scope) -> None:
    """Refuse every client except the API server.

    TLS has verified the certificate against the CA; this function checks the common name.
    """
    tls = (scope.get("extensions") or {}).get("tls") or {}
    certificate = tls.get("client_cert")
    if not certificate:
        raise KubeletError(401, "a client certificate is required")
    if _common_name(bytes(certificate)) != API_SERVER_CLIENT:
        raise KubeletError(403, "this client may not use the kubelet API")


@lru_cache(maxsize=16)
def _common_name(der: bytes) -> str:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _find_log(
    worker: PodWorker, pod: str, container: str, *, previous: bool
) -> tuple[Path, LogActivity]:
    record = worker.containers.records.get(container)
    if record is None:
        raise KubeletError(404, f'container "{container}" not found in pod "{pod}"')
    found = worker.containers.find_log(container, previous=previous)
    if found is not None:
        return found
    if previous:
        raise KubeletError(
            400, f'previous terminated container "{container}" in pod "{pod}" not found'
        )
    raise KubeletError(
        400,
        f'container "{container}" in pod "{pod}" is waiting to start: {_missing_log_reason(record)}',
    )


def _missing_log_reason(record: ContainerRecord) -> str:
    """Return why a container has no log: its waiting reason, or the error of its start."""
    if isinstance(record.state, Waiting):
        return record.state.reason
    if record.previous is not None and record.previous.message:
        return record.previous.message
    return "ContainerCreating"


def parse_log_options(query: Mapping[str, list[str]], now: float) -> LogOptions:
    """Parse the parameters of a log request. Raises KubeletError (400), naming the parameter."""
    since = _parse_number(query, "sinceSeconds")
    since_time = now - since if since is not None else _parse_time(query, "sinceTime")
    return LogOptions(
        follow=_parse_flag(query, "follow"),
        timestamps=_parse_flag(query, "timestamps"),
        # No log is older, and a time before year 1 cannot be formatted.
        since=None if since_time is None else max(since_time, 0.0),
        tail=_parse_number(query, "tailLines"),
        limit=_parse_number(query, "limitBytes"),
        stream=_parse_stream(query),
    )


def _parse_stream(query: Mapping[str, list[str]]) -> str:
    name = query.get("stream", ["All"])[0].lower()
    return "" if name == "all" else name


def _parse_flag(query: Mapping[str, list[str]], name: str) -> bool:
    return query.get(name, ["false"])[0].lower() in ("true", "1")


def _parse_number(query: Mapping[str, list[str]], name: str) -> int | None:
    text = query.get(name, [""])[0]
    if not text:
        return None
    number = int64.parse(text)
    if number is None or number < 0:
        raise KubeletError(400, f"{name} is not a whole number")
    return number


def _parse_time(query: Mapping[str, list[str]], name: str) -> float | None:
    text = query.get(name, [""])[0]
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError) as exc:
        raise KubeletError(400, f"{name} is not a time") from exc


async def _stream_log(lines: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Stream a log until it ends or the client disconnects."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_TEXT)})

    async def send_all() -> None:
        async for data in lines:
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    with contextlib.suppress(OSError):  # the client disconnects during a write
        await run_until_first(send_all(), wait_for_disconnect(receive))
