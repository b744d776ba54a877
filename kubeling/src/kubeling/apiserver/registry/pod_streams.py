"""The subresources `exec`, `attach` and `portforward` of pods: pass a client on to the pod's kubelet.

The API server checks the request, and passes its ASGI connection to the kubelet: only client and kubelet
know the protocol. The kubelet never receives a token of the client.
"""

import asyncio
import dataclasses
from collections.abc import Sequence
from urllib.parse import quote, urlencode

import orjson

from kubeling import asgi
from kubeling.apiserver.admission.plugins import CONNECT, AdmissionAttributes
from kubeling.apiserver.auth.authentication import without_tokens
from kubeling.apiserver.auth.rbac import authorizer_attributes
from kubeling.apiserver.read.listing import get_object
from kubeling.apiserver.registry import kubelets
from kubeling.apiserver.registry.kubelets import Kubelets
from kubeling.apiserver.registry.store import Registry
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import JSON, PassedOnResponse
from kubeling.apiserver.status import bad_request
from kubeling.apiserver.storage.storage import Object
from kubeling.asgi import Headers, Message, Receive, Scope, Send
from kubeling.tasks import cancel_all

_PATHS = {"exec": "exec", "attach": "attach", "portforward": "portForward"}
# The names of the streams for a client, and for the kubelet.
_FLAGS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_REQUEST_HEADERS = (b"upgrade", b"x-stream-protocol-version")


class PodStreamHandler:
    """Opens streams to the containers of pods."""

    def __init__(self, registry: Registry, apps: Kubelets) -> None:
        self._registry, self._apps = registry, apps
        self._streams: set[asyncio.Future[None]] = set()

    def stop(self) -> None:
        """End all streams."""
        for task in self._streams:
            task.cancel()

    async def open(self, request: Request) -> PassedOnResponse:
        """Authorize and check a request, and find the kubelet. Raises StatusError 400, 403, 404, 500."""
        self._authorize(request)
        pod = get_object(self._registry.store, request)
        options = _options(request)
        await admit_connect(self._registry, request, options)
        path, query = _kubelet_target(request, pod, options)
        scope = request.scope
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            raise bad_request(f"pod {request.info.name} does not have a host assigned")
        app = kubelets.find_app(self._registry.store, self._apps, node_name)
        target = {
            **scope,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [each for each in scope["headers"] if each[0] in _REQUEST_HEADERS],
            "subprotocols": without_tokens(scope.get("subprotocols") or ()),
        }

        async def pass_on(receive: Receive, send: Send, headers: Headers) -> None:
            work = app(target, receive, _status_errors(scope, send, headers))
            task = asyncio.ensure_future(work)
            self._streams.add(task)
            try:
                await asyncio.wait({task})
            finally:
                self._streams.discard(task)
                await cancel_all([task])
            if not task.cancelled():
                task.result()

        return PassedOnResponse(pass_on)

    def _authorize(self, request: Request) -> None:
        """Require `create`, also from a WebSocket.

        The handshake of a WebSocket is a GET: without this check, a role that may only read could run
        commands. kube-apiserver requires `create` since version 1.35. Raises StatusError 403.
        """
        attributes = dataclasses.replace(authorizer_attributes(request.info), verb="create")
        self._registry.rbac.check(request.user, attributes)


async def admit_connect(registry: Registry, request: Request, options: Object) -> None:
    """Call the admission webhooks of CONNECT with the options of a request. Raises StatusError."""
    subresource = request.kind.subresource(request.info.subresource)
    assert subresource is not None
    sub_kind = ("", "v1", subresource.kind)
    await registry.webhooks.admit(
        AdmissionAttributes.of(request, CONNECT, options, sub_kind=sub_kind)
    )


def _status_errors(scope: Scope, send: Send, headers: Headers) -> Send:
    """Return a `send` that adds headers to a handshake, and replaces the kubelet's error by a Status."""
    refused: list[int] = []

    async def send_status(message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.accept":
            await send({**message, "headers": [*message.get("headers", ()), *headers]})
        elif kind.endswith("http.response.start"):
            refused.append(message["status"])
        elif kind.endswith("http.response.body"):
            error = kubelets.to_status_error(refused[0], message["body"])
            content_type = (b"content-type", JSON.encode())
            body = orjson.dumps(error.body()) + b"\n"
            await asgi.respond(scope, send, error.status, body, [*headers, content_type])
        else:
            await send(message)

    return send_status


def _options(request: Request) -> Object:
    """Return the options of a request as the object that admission webhooks receive."""
    options: Object = {}
    if request.info.subresource == "portforward":
        ports = [int(port) for port in _ports(request)]
        return {"ports": ports} if ports else {}
    for name in _FLAGS:
        if name in request.query and request.option(name).lower() not in ("0", "false"):
            options[name] = True
    if container := request.option("container"):
        options["container"] = container
    if request.info.subresource == "exec":
        options["command"] = list(request.query.get("command", ()))
    return options


def _ports(request: Request) -> Sequence[str]:
    ports = [port for value in request.query.get("ports", ()) for port in value.split(",")]
    if not all(port.isascii() and port.isdigit() and len(port) < 6 for port in ports):
        raise bad_request("ports must be numbers")
    return ports


def _kubelet_target(request: Request, pod: Object, options: Object) -> tuple[str, str]:
    """Return the path and the query for the kubelet. Raises StatusError 400."""
    parts = [_PATHS[request.info.subresource], *request.namespaced_name]
    if request.info.subresource == "portforward":
        # With SPDY, each stream has the port in its headers.
        query = [("port", ",".join(map(str, options["ports"])))] if options.get("ports") else []
    else:
        parts.append(kubelets.choose_container(request, pod))
        query = [(theirs, "1") for ours, theirs in _FLAGS.items() if options.get(ours)]
        query += [("command", word) for word in options.get("command", ())]
    return "/" + "/".join(quote(part, safe="") for part in parts), urlencode(query)
