"""The subresources `exec`, `attach` and `portforward` of pods: connect a client with the pod's kubelet.

The API server checks the request, and then copies bytes in both directions; only client and kubelet know the
protocol. Of the client's headers, the kubelet receives those of the handshake: never a token.
"""

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from podpass.http.server import header, header_values
from podpass.http.upgrade import BUFFER_BYTES, ByteStream, offered_upgrade
from podpass.http.websocket_relay import relay_frames
from podpass.kubernetes.apiserver.admission.plugins import CONNECT, AdmissionAttributes
from podpass.kubernetes.apiserver.auth.rbac import authorizer_attributes
from podpass.kubernetes.apiserver.auth.websocket_token import without_tokens
from podpass.kubernetes.apiserver.read.listing import get_object
from podpass.kubernetes.apiserver.registry import kubelets
from podpass.kubernetes.apiserver.registry.store import Registry
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import UpgradeResponse
from podpass.kubernetes.apiserver.status import StatusError, bad_request, internal
from podpass.kubernetes.apiserver.storage.storage import Object

_PATHS = {"exec": "exec", "attach": "attach", "portforward": "portForward"}
# The names of the streams for a client, and for the kubelet.
_FLAGS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_REQUEST_HEADERS = (
    *(b"sec-websocket-version", b"sec-websocket-key"),
    *(b"sec-websocket-protocol", b"x-stream-protocol-version"),
)
_RESPONSE_HEADERS = (
    *("upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol"),
    "x-stream-protocol-version",
)
_CONNECT_SECONDS = 10.0
_CHUNK = 64 * 1024

_Copy = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class PodStreamHandler:
    """Opens streams to the containers of pods."""

    def __init__(self, registry: Registry, tls: ssl.SSLContext | None) -> None:
        self._registry, self._tls = registry, tls
        self._relays: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """End all streams."""
        for task in self._relays:
            task.cancel()

    async def open(self, request: Request) -> UpgradeResponse:
        """Authorize and check a request, and connect to the kubelet.

        Errors:  StatusError 400, 403, 404, 500.
        """
        self._authorize(request)
        upgrade = header(request.scope, b"upgrade")
        pod = get_object(self._registry.store, request)
        options = _options(request)
        await self._admit(request, options)
        target = _kubelet_target(request, pod, options)
        if upgrade is None or offered_upgrade(request.scope) is None:
            raise bad_request("Upgrade request required")
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            raise bad_request(f"pod {request.info.name} does not have a host assigned")
        origin = kubelets.find_endpoint(self._registry.store, node_name)
        kubelet, headers = await self._connect(request, origin, target, upgrade)
        copy = _pump_frames if upgrade.lower() == "websocket" else _pump
        return UpgradeResponse(headers, lambda client: self._relay(client, kubelet, copy))

    def _authorize(self, request: Request) -> None:
        """Require `create`, also from a WebSocket.

        Its handshake is a GET, so that a role which may only read would run commands. The API server requires
        this since version 1.35.

        Errors:  StatusError 403.
        """
        attributes = dataclasses.replace(authorizer_attributes(request.info), verb="create")
        self._registry.rbac.check(request.user, attributes)

    async def _admit(self, request: Request, options: Object) -> None:
        subresource = request.kind.subresource(request.info.subresource)
        assert subresource is not None
        attributes = AdmissionAttributes(
            operation=CONNECT,
            kind=request.kind,
            namespace=request.info.namespace,
            name=request.info.name,
            user=request.user,
            obj=options,
            subresource=request.info.subresource,
            sub_kind=("", "v1", subresource.kind),
            warnings=request.warnings,
        )
        await self._registry.webhooks.mutate(attributes, lambda: None)
        await self._registry.webhooks.validate(attributes)

    async def _connect(
        self, request: Request, origin: str, target: str, upgrade: str
    ) -> tuple[ByteStream, list[tuple[bytes, bytes]]]:
        """Send the handshake to the kubelet; return the connection and the headers of its response."""
        if self._tls is None:
            raise internal("this cluster has no credentials for kubelets")
        address = urlsplit(origin)
        lines = [f"{request.method} {target} HTTP/1.1", f"Host: {address.netloc}"]
        lines += ["Connection: Upgrade", f"Upgrade: {upgrade}", *_handshake_headers(request)]
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    address.hostname, address.port, ssl=self._tls, limit=BUFFER_BYTES
                )
        except (OSError, TimeoutError) as exc:
            raise internal(f"error dialing backend: {exc or type(exc).__name__}") from exc
        try:
            writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1"))
            async with asyncio.timeout(_CONNECT_SECONDS):
                headers = await _read_response(reader)
        except BaseException as exc:
            writer.transport.abort()
            if isinstance(exc, OSError | EOFError | TimeoutError | asyncio.LimitOverrunError):
                raise internal("the kubelet closed the connection") from exc
            raise
        return ByteStream(reader, writer), headers

    async def _relay(self, client: ByteStream, kubelet: ByteStream, copy_output: _Copy) -> None:
        """Copy bytes in both directions until one side closes its connection."""
        async with client, kubelet:
            pumps = {
                asyncio.create_task(_pump(client.reader, kubelet.writer)),
                asyncio.create_task(copy_output(kubelet.reader, client.writer)),
            }
            self._relays |= pumps
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
                self._relays -= pumps


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


def _kubelet_target(request: Request, pod: Object, options: Object) -> str:
    """Return the path and the query for the kubelet.

    Errors:  StatusError 400.
    """
    parts = [_PATHS[request.info.subresource], *request.namespaced_name]
    if request.info.subresource == "portforward":
        # The port forwarding by SPDY names the port in each stream.
        query = [("port", ",".join(map(str, options["ports"])))] if options.get("ports") else []
    else:
        parts.append(kubelets.choose_container(request, pod))
        query = [(theirs, "1") for ours, theirs in _FLAGS.items() if options.get(ours)]
        query += [("command", word) for word in options.get("command", ())]
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    return f"{path}?{urlencode(query)}" if query else path


def _handshake_headers(request: Request) -> list[str]:
    """Return the lines of the handshake's headers, without any token."""
    lines = []
    for name in _REQUEST_HEADERS:
        values = header_values(request.scope, name)
        words = [word.strip() for value in values for word in value.split(",")]
        kept = without_tokens(filter(None, words))
        if kept:
            lines.append(f"{name.decode()}: {', '.join(kept)}")
    return lines


async def _read_response(reader: asyncio.StreamReader) -> list[tuple[bytes, bytes]]:
    """Read the response of the kubelet; return the headers of a response 101.

    Errors:  StatusError for any other response; OSError, EOFError.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.strip().split("\r\n")
    fields = {
        name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)
    }
    status = int(status_line.split(" ")[1])
    if status != 101:
        raise await _refusal(reader, status, int(fields.get("content-length", "0")))
    return [(name.encode(), fields[name].encode()) for name in _RESPONSE_HEADERS if name in fields]


async def _refusal(reader: asyncio.StreamReader, status: int, length: int) -> StatusError:
    body = await reader.readexactly(min(length, kubelets.MAX_MESSAGE_BYTES))
    return kubelets.to_status_error(status, body)


async def _pump_frames(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await relay_frames(reader, writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
