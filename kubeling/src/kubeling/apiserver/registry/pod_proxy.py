"""Requests and streams to a pod by its kubelet: `proxy` of Services and pods, and the streams of containers.

That of nodes sends requests for the state of the node to its kubelet.
Source: ResourceLocation of Services, pods and nodes, and proxy.Transport of kube-apiserver.
"""

import asyncio
import dataclasses
import random
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import orjson

from kubeling import asgi, int64
from kubeling.apiserver.admission.plugins import CONNECT, AdmissionAttributes
from kubeling.apiserver.admission.service_resolver import declared_ports, may_connect, ready_pods
from kubeling.apiserver.auth.authentication import without_tokens
from kubeling.apiserver.auth.rbac import authorizer_attributes
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.read.listing import get_object
from kubeling.apiserver.registry import kubelets
from kubeling.apiserver.registry.kubelets import Kubelets
from kubeling.apiserver.registry.store import Registry
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import JSON, PassedOnResponse, Response
from kubeling.apiserver.status import (
    StatusError,
    bad_request,
    method_not_allowed,
    not_found,
    service_unavailable,
)
from kubeling.apiserver.storage.storage import Object
from kubeling.asgi import Headers, Message, Receive, Scope, Send
from kubeling.tasks import cancel_all

_PATHS = {"exec": "exec", "attach": "attach", "portforward": "portForward"}
# The names of the streams for a client, and for the kubelet.
_FLAGS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_REQUEST_HEADERS = (b"upgrade", b"x-stream-protocol-version")


class PodStreamHandler:
    """Opens streams to the containers of pods: the subresources `exec`, `attach` and `portforward`.

    The API server checks the request, and passes its ASGI connection to the kubelet: only client and kubelet
    know the protocol. The kubelet never receives a token of the client.
    """

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


_POD, _SERVICE, _NODE = map(kind_by_name, ("Pod", "Service", "Node"))
# The kubelet would also run commands, and connect to all ports of all pods, for a right that says `proxy`.
_NODE_PATHS = ("containerLogs", "healthz", "metrics", "pods")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# The credential of the caller is for the API server. A compressed page could not be rewritten.
_NOT_SENT_ON = (b"authorization", b"accept-encoding", b"sec-websocket-protocol")
_MAX_PAGE_BYTES = 4 * 1024 * 1024
_LINK = re.compile(
    rb"(\s(?:action|background|cite|classid|codebase|data|formaction|href|icon|longdesc|manifest|poster"
    rb"|profile|src|usemap)\s*=\s*[\"']?)(/(?!/)[^\"'\s>]*)",
    re.IGNORECASE,
)


class ProxyHandler:
    """Sends requests on to the pods of Services, and to pods."""

    def __init__(self, registry: Registry, apps: Kubelets) -> None:
        self._registry, self._apps = registry, apps

    async def open(self, request: Request) -> PassedOnResponse | Response:
        """Find the pod of a request, and its kubelet. Raises StatusError 400, 404, 500, 503."""
        info = request.info
        is_websocket = request.scope["type"] == "websocket"
        await admit_connect(
            self._registry, request, {"path": unquote(info.proxied)} if info.proxied else {}
        )
        scheme, name, port = _parse(info.plural.removesuffix("s"), info.name)
        if info.plural == _NODE.plural:
            node_name, target = self._find_node(request, name, port), ""
        else:
            find = self._find_endpoint if info.plural == _SERVICE.plural else self._find_port
            pod, number = find(info.namespace, name, port, scheme)
            metadata, node_name = pod["metadata"], pod["spec"].get("nodeName") or ""
            target = f"/proxy/{metadata['namespace']}/{metadata['name']}/{scheme}/{number}"
        if not info.proxied and request.method in ("GET", "HEAD") and not is_websocket:
            query = request.scope["query_string"].decode("latin-1")
            location = f"{info.path}/" + (f"?{query}" if query else "")
            return Response(301, b"", "", headers=((b"location", location.encode("latin-1")),))
        app = kubelets.find_app(self._registry.store, self._apps, node_name)
        raw_path = (target + (info.proxied or "/")).encode("latin-1")
        scope = {
            **request.scope,
            "raw_path": raw_path,
            "headers": _request_headers(request),
            "subprotocols": without_tokens(request.scope.get("subprotocols") or ()),
        }
        prefix = info.path.removesuffix(info.proxied)

        async def pass_on(receive: Receive, send: Send, headers: Headers) -> None:
            rewriter = _Rewriter(send, headers, prefix)
            try:
                await app(scope, receive, rewriter)
            except OSError as exc:
                if rewriter.is_started:
                    raise
                error = service_unavailable(f"error trying to reach service: {exc}")
                found = [*headers, (b"content-type", JSON.encode())]
                body = orjson.dumps(error.body()) + b"\n"
                await asgi.respond(request.scope, send, error.status, body, found)

        return PassedOnResponse(pass_on)

    def _find_node(self, request: Request, name: str, port: str) -> str:
        """Check a request to a kubelet, and return the name of its node."""
        if (node := self._registry.store.get(_NODE, "", name)) is None:
            raise not_found(_NODE, name)
        endpoint = ((node.get("status") or {}).get("daemonEndpoints") or {}).get("kubeletEndpoint")
        if port and int64.parse(port) != (endpoint or {}).get("Port"):
            raise bad_request("address not allowed")
        # As in the kubelet, which decodes the path once.
        first = unquote(request.info.proxied).strip("/").partition("/")[0]
        if request.info.proxied and first not in _NODE_PATHS:
            raise StatusError(404, "NotFound", "the kubelet does not serve this path to clients")
        if request.scope["type"] == "websocket" or request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        return name

    def _find_port(self, namespace: str, name: str, port: str, scheme: str) -> tuple[Object, int]:
        """Return a pod and the number of its port; the default is its first declared port."""
        if (pod := self._registry.store.get(_POD, namespace, name)) is None:
            raise not_found(_POD, name)
        declared = [*declared_ports(pod)]
        given = int64.parse(port) if port else next(iter(declared), _DEFAULT_PORTS[scheme])
        if given is None or not 0 < given < 65536:
            raise service_unavailable(f"error trying to reach service: unknown port {port[:20]}")
        if not may_connect(pod, given):
            raise bad_request("address not allowed")
        return pod, given

    def _find_endpoint(
        self, namespace: str, name: str, port: str, _scheme: str
    ) -> tuple[Object, int]:
        """Return the pod of a ready endpoint of a Service, and its port."""
        if (service := self._registry.store.get(_SERVICE, namespace, name)) is None:
            raise not_found(_SERVICE, name)
        if (number := int64.parse(port)) is not None:
            ports = [each for each in service["spec"].get("ports") or () if each["port"] == number]
            if not ports:
                message = f'no service port {number} found for service "{name}"'
                raise service_unavailable(message)
            port = ports[0].get("name") or ""
        found = [*ready_pods(self._registry.store, namespace, name, port)]
        if not found:
            raise service_unavailable(f'no endpoints available for service "{name}"')
        return random.choice(found)  # noqa: S311 only spreads the load


def _parse(kind: str, text: str) -> tuple[str, str, str]:
    """Return scheme, name and port of `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`. Raises StatusError 400."""
    parts = text.split(":")
    if len(parts) == 1:
        parts = ["", text, ""]
    elif len(parts) == 2:
        parts = ["", *parts]
    if len(parts) != 3 or parts[0] not in ("", *_DEFAULT_PORTS) or not parts[1]:
        raise bad_request(f'invalid {kind} request "{text}"')
    return parts[0] or "http", parts[1], parts[2]


def _request_headers(request: Request) -> list[tuple[bytes, bytes]]:
    scope = request.scope
    kept = [
        (name, value)
        for name, value in scope["headers"]
        if name not in _NOT_SENT_ON and not name.startswith(b"impersonate-")
    ]
    client = (scope.get("client") or [""])[0]
    forwarded = {
        "x-forwarded-for": client,
        "x-forwarded-host": request.headers.get("host", ""),
        "x-forwarded-proto": scope.get("scheme", "https"),
        "x-forwarded-uri": request.info.path,
    }
    return kept + [(name.encode(), value.encode("latin-1")) for name, value in forwarded.items()]


class _Rewriter:
    """An ASGI `send` that adds the path of the proxy to redirects, and to links in HTML pages.

    Messages of WebSockets are sent on unchanged.
    """

    def __init__(self, send: Send, headers: Headers, prefix: str) -> None:
        self._send, self._headers, self._prefix = send, headers, prefix.encode("latin-1")
        self._start: Message = {}
        self._page: bytes | None = None
        self.is_started = False

    async def __call__(self, message: Message) -> None:
        self.is_started = True
        if message["type"] == "websocket.accept":
            await self._send({**message, "headers": [*message.get("headers", ()), *self._headers]})
        elif message["type"] == "http.response.start":
            await self._begin(message)
        elif self._page is None:
            await self._send(message)
        else:
            await self._add(message)

    async def _begin(self, message: Message) -> None:
        given: Sequence[tuple[bytes, bytes]] = message.get("headers", ())
        fields = {bytes(name): bytes(value) for name, value in given}
        changed = [
            (name, self._redirect(value) if name == b"location" else value) for name, value in given
        ]
        self._start = {**message, "headers": [*self._headers, *changed]}
        is_page = fields.get(b"content-type", b"").split(b";")[0].strip() == b"text/html"
        if is_page and b"content-encoding" not in fields:
            self._page = b""
        else:
            await self._send(self._start)

    async def _add(self, message: Message) -> None:
        """Collect a page; a page that is too long is sent unchanged."""
        assert self._page is not None
        self._page += message.get("body", b"")
        more = bool(message.get("more_body"))
        if more and len(self._page) <= _MAX_PAGE_BYTES:
            return
        page, self._page = self._page, None
        if not more and page:
            page = _LINK.sub(lambda found: found[1] + self._add_prefix(found[2]), page)
            length = str(len(page)).encode()
            self._start["headers"] = [
                (name, length if name == b"content-length" else value)
                for name, value in self._start["headers"]
            ]
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": page, "more_body": more})

    def _redirect(self, location: bytes) -> bytes:
        """Return a location on the same host with the path of the proxy."""
        found: Any = urlsplit(location)
        return location if found.netloc else self._add_prefix(location)

    def _add_prefix(self, path: bytes) -> bytes:
        is_absolute = path.startswith(b"/") and not path.startswith(self._prefix)
        return self._prefix + path if is_absolute else path
