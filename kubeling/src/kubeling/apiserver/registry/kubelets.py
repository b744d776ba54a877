"""Requests to kubelets: each is an ASGI application in this process, found by the name of its node."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote, urlencode

from kubeling import int64
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.read.listing import get_object
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import TEXT, Response, StreamResponse
from kubeling.apiserver.status import (
    Cause,
    CauseType,
    StatusError,
    bad_request,
    internal,
    invalid_options,
    not_a_number,
)
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.asgi import App, Message, Scope
from kubeling.tasks import cancel_all

Kubelets = Mapping[str, App]

_MAX_MESSAGE_BYTES = 1024


def find_app(store: ObjectStore, kubelets: Kubelets, node_name: str) -> App:
    """Return the application of the kubelet of a node. Raises StatusError 404, 500."""
    if store.get_stored(kind_by_name("Node"), "", node_name) is None:
        message = f'nodes "{node_name}" not found'
        raise StatusError(404, "NotFound", message, name=node_name, kind="pods")
    if (app := kubelets.get(node_name)) is None:
        raise internal(f"no kubelet of node {node_name} is connected to this API server")
    return app


async def read(app: App, path: str, query: str) -> AsyncIterator[bytes]:
    """Send a GET request to a kubelet; return the parts of the body.

    Raises StatusError: the kubelet refused the request.
    """
    scope: Scope = {
        "type": "http",
        "method": "GET",
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [],
    }
    messages: asyncio.Queue[Message | None] = asyncio.Queue(
        1
    )  # a client that does not read slows the kubelet

    async def run() -> None:
        try:
            await app(scope, asyncio.Event().wait, messages.put)  # type: ignore[arg-type]
        finally:
            await messages.put(None)

    task = asyncio.create_task(run(), name="kubelet-request")
    chunks = _chunks(task, messages)
    if (start := await anext(chunks, None)) is None:
        await task  # raises the cause
        raise internal("the kubelet sent no response")
    status = start["status"]
    if status == 200:
        return _bodies(chunks)
    body = b"".join([chunk async for chunk in _bodies(chunks)])
    raise to_status_error(status, body[:_MAX_MESSAGE_BYTES])


async def _chunks(
    task: "asyncio.Task[None]", messages: "asyncio.Queue[Message | None]"
) -> AsyncIterator[Message]:
    try:
        while (message := await messages.get()) is not None:
            yield message
    finally:
        await cancel_all([task])


async def _bodies(chunks: AsyncIterator[Message]) -> AsyncIterator[bytes]:
    try:
        async for message in chunks:
            if body := message.get("body", b""):
                yield body
            if not message.get("more_body"):
                return
    finally:
        await chunks.aclose()  # type: ignore[attr-defined]


def to_status_error(status: int, body: bytes) -> StatusError:
    """Return the error for a response of a kubelet."""
    message = body.decode(errors="replace").strip()
    if status == 400:
        return bad_request(message)
    if status == 404:
        return StatusError(404, "NotFound", message, details=True)
    return internal(message or f"the kubelet returned status {status}")


def choose_container(request: Request, pod: Object) -> str:
    """Return the container of a request: the named container, or the pod's only container."""
    spec, name = pod["spec"], request.info.name
    containers = [each["name"] for each in spec["containers"]]
    init_containers = [each["name"] for each in spec.get("initContainers") or ()]
    ephemeral_containers = [each["name"] for each in spec.get("ephemeralContainers") or ()]
    container = request.option("container")
    if not container and len(containers) == 1:
        return str(containers[0])
    if not container:
        message = f"a container name must be specified for pod {name}, choose one of: {containers}"
        raise bad_request(
            message
            + (f" or one of the init containers: {init_containers}" if init_containers else "")
        )
    if container not in (*containers, *init_containers, *ephemeral_containers):
        raise bad_request(f"container {container} is not valid for pod {name}")
    return container


_PARAMETERS = (
    *("follow", "previous", "sinceSeconds", "sinceTime", "timestamps"),
    *("tailLines", "limitBytes", "stream"),
)
_MINIMUMS = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}


class PodLogHandler:
    """Reads container logs from kubelets."""

    def __init__(self, store: ObjectStore, apps: Kubelets) -> None:
        self._store, self._apps = store, apps

    async def open(self, request: Request) -> Response | StreamResponse:
        """Start to stream a log. Raises StatusError 400, 404, 422, 500."""
        pod = get_object(self._store, request)
        _check_parameters(request)
        container = choose_container(request, pod)
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            # The pod has no node yet: the log is empty, which is not an error.
            return Response(204, b"", "")
        app = find_app(self._store, self._apps, node_name)
        names = (*request.namespaced_name, container)
        path = "/containerLogs/" + "/".join(quote(part, safe="") for part in names)
        query = {name: request.option(name) for name in _PARAMETERS if request.option(name)}
        return StreamResponse(200, await read(app, path, urlencode(query)), TEXT)


def _check_parameters(request: Request) -> None:
    causes = []
    for name, minimum in _MINIMUMS.items():
        text = request.option(name)
        if not text:
            continue
        if (number := int64.parse(text)) is None:
            raise not_a_number(name, text)
        if number < minimum:
            reason = f"must be greater than or equal to {minimum}"
            causes.append(Cause(CauseType.INVALID, reason, name))
    if causes:
        raise invalid_options("PodLogOptions", causes, group="", name=request.info.name)
