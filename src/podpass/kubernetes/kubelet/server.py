"""The kubelet's HTTPS side: container logs for the API server, and for nobody else.

Logs may hold what a pod should have kept to itself, and every program on the machine reaches this port;
so each request needs the API server's own client certificate, health included.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qs, unquote

from cryptography import x509
from cryptography.x509.oid import NameOID

from podpass.clock import Clock
from podpass.errors import Error
from podpass.http.server import App, Receive, Scope, Send, respond
from podpass.kubernetes import int64
from podpass.kubernetes.kubelet import logs
from podpass.kubernetes.kubelet.container_state import Record, Waiting
from podpass.kubernetes.kubelet.logs import Activity, LogQuery
from podpass.kubernetes.kubelet.pod_worker import PodWorker

CLIENT = "kube-apiserver-kubelet-client"

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)

Find = Callable[[str, str], PodWorker | None]


class Refused(Error):
    """A request that is not answered, with the status that says why."""

    code = "kubelet_refused"

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def create_app(find: Find, clock: Clock) -> App:
    """Make the application; `find` gives a pod's worker by namespace and name."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            _check_client(scope)
            await _route(scope, receive, send, find, clock)
        except Refused as exc:
            await respond(send, exc.status, exc.message.encode() + b"\n", _TEXT)

    return app


def _check_client(scope: Scope) -> None:
    """Let only the API server in.

    TLS has checked that our authority signed the certificate; whom it names is checked here.
    """
    tls = (scope.get("extensions") or {}).get("tls") or {}
    certificate = tls.get("client_cert")
    if not certificate:
        raise Refused(401, "a client certificate is required")
    if _common_name(bytes(certificate)) != CLIENT:
        raise Refused(403, "this client may not speak to the runtime")


@lru_cache(maxsize=16)
def _common_name(der: bytes) -> str:
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


async def _route(scope: Scope, receive: Receive, send: Send, find: Find, clock: Clock) -> None:
    parts = [unquote(part) for part in scope["path"].strip("/").split("/")]
    if scope["method"] != "GET":
        raise Refused(405, "only GET is answered here")
    match parts:
        case ["healthz"]:
            await respond(send, 200, b"ok", _TEXT)
        case ["containerLogs", namespace, pod, container]:
            query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            worker = find(namespace, pod)
            if worker is None:
                raise Refused(404, f'pod "{pod}" not found on this node')
            previous = _flag(query, "previous")
            path, activity = _log_of(worker, pod, container, previous=previous)
            lines = logs.read(path, read_query(query, clock()), activity=activity)
            await _stream(lines, receive, send)
        case _:
            raise Refused(404, "not found")


def _log_of(
    worker: PodWorker, pod: str, container: str, *, previous: bool
) -> tuple[Path, Activity]:
    record = worker.containers.records.get(container)
    if record is None:
        raise Refused(404, f'container "{container}" not found in pod "{pod}"')
    found = worker.containers.log_of(container, previous=previous)
    if found is not None:
        return found
    if previous:
        raise Refused(400, f'previous terminated container "{container}" in pod "{pod}" not found')
    raise Refused(
        400, f'container "{container}" in pod "{pod}" is waiting to start: {_why(record)}'
    )


def _why(record: Record) -> str:
    """Say why a container has no log: what it waits for, or why its process never began."""
    if isinstance(record.state, Waiting):
        return record.state.reason
    if record.previous is not None and record.previous.message:
        return record.previous.message
    return "ContainerCreating"


def read_query(query: Mapping[str, list[str]], now: float) -> LogQuery:
    """Read the parameters of a log request.

    Errors:  Refused (400), naming the parameter.
    """
    since = _number(query, "sinceSeconds")
    at = now - since if since is not None else _time(query, "sinceTime")
    return LogQuery(
        follow=_flag(query, "follow"),
        timestamps=_flag(query, "timestamps"),
        # No log is older; a time before the calendar begins could not be written down.
        since=None if at is None else max(at, 0.0),
        tail=_number(query, "tailLines"),
        limit=_number(query, "limitBytes"),
        stream=_stream_name(query),
    )


def _stream_name(query: Mapping[str, list[str]]) -> str:
    name = query.get("stream", ["All"])[0].lower()
    return "" if name == "all" else name


def _flag(query: Mapping[str, list[str]], name: str) -> bool:
    return query.get(name, ["false"])[0].lower() in ("true", "1")


def _number(query: Mapping[str, list[str]], name: str) -> int | None:
    text = query.get(name, [""])[0]
    if not text:
        return None
    number = int64.read(text)
    if number is None or number < 0:
        raise Refused(400, f"{name} is no whole number")
    return number


def _time(query: Mapping[str, list[str]], name: str) -> float | None:
    text = query.get(name, [""])[0]
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError) as exc:
        raise Refused(400, f"{name} is no time") from exc


async def _stream(lines: AsyncIterator[bytes], receive: Receive, send: Send) -> None:
    """Send a log as it comes, until it ends or the reader leaves."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_TEXT)})
    sending = asyncio.create_task(_send_all(lines, send))
    leaving = asyncio.create_task(_left(receive))
    await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    for task in (sending, leaving):
        task.cancel()
    await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_all(lines: AsyncIterator[bytes], send: Send) -> None:
    async for data in lines:
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
