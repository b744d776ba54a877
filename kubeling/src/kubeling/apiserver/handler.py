"""The ASGI application: authenticates and authorizes a request, calls its handler and sends the response.

Every error response is a Status. An unexpected exception is a bug: it is logged with its traceback under the
`Audit-Id`, and the response contains only that id.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping

from kubeling import asgi
from kubeling.apiserver import options, response
from kubeling.apiserver.auth import token_request
from kubeling.apiserver.auth.authentication import AuthConfig, Authenticator
from kubeling.apiserver.auth.impersonation import impersonate
from kubeling.apiserver.auth.rbac import RbacAuthorizer, authorizer_attributes
from kubeling.apiserver.auth.reviews import ReviewHandler
from kubeling.apiserver.read import list_response, listing, object_response
from kubeling.apiserver.read.discovery import NOT_FOUND, DiscoveryHandler
from kubeling.apiserver.read.watch import WatchHandler
from kubeling.apiserver.registry import deletion
from kubeling.apiserver.registry.aggregation import Aggregator
from kubeling.apiserver.registry.deletion import DeletionHandler
from kubeling.apiserver.registry.scale import ScaleHandler
from kubeling.apiserver.registry.store import Registry
from kubeling.apiserver.registry.subresources import PodSubresources
from kubeling.apiserver.request import (
    Request,
    check_timeout,
    parse_request_info,
    read_headers,
    read_query,
)
from kubeling.apiserver.response import PassedOnResponse, Response, StreamResponse
from kubeling.apiserver.status import (
    StatusError,
    deletion_status,
    internal,
    method_not_allowed,
    no_such_resource,
)
from kubeling.apiserver.storage.fairness import FairQueue
from kubeling.apiserver.storage.storage import Object, StoreError
from kubeling.apiserver.websocket_streams import WebSocketStreams
from kubeling.asgi import Receive, Scope, Send
from kubeling.audit import audit_id

_log = logging.getLogger(__name__)

AnyResponse = Response | StreamResponse | PassedOnResponse
Handler = Callable[[Request], Awaitable[AnyResponse]]
_READ_VERBS = ("get", "list", "watch")


class ApiServer:
    """The ASGI application of the API server; `cluster` builds its components.

    `kubelet_requests` are the handlers of the subresources that a kubelet serves.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        authenticator: Authenticator,
        auth_config: AuthConfig,
        rbac: RbacAuthorizer,
        discovery: DiscoveryHandler,
        watches: WatchHandler,
        websockets: WebSocketStreams,
        aggregator: Aggregator,
        kubelet_requests: Mapping[str, Handler],
    ) -> None:
        deletion_handler = DeletionHandler(registry)
        subresources = PodSubresources(registry, deletion_handler)
        self._store = registry.store
        self._registry, self._deletion_handler = registry, deletion_handler
        self._authenticator, self._auth_config, self._rbac = authenticator, auth_config, rbac
        self._discovery, self._watches, self._websockets = discovery, watches, websockets
        self._aggregator = aggregator
        self._clock = registry.clock
        self._reviews = ReviewHandler(authenticator, rbac, registry.clock)
        self._write_queue = FairQueue()
        self._verbs: Mapping[str, Handler] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            **dict.fromkeys(("create", "update", "patch"), self._write),
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        self._created: Mapping[str, Callable[[Request], Awaitable[Object]]] = {
            "binding": subresources.bind,
            "eviction": subresources.evict,
            "token": self._token,
        }
        self._subresources: Mapping[str, Handler] = {
            **dict.fromkeys(self._created, self._create_subresource),
            "scale": ScaleHandler(registry).handle,
            **kubelet_requests,
        }

    def authorize(self, request: Request) -> None:
        """Check that the user may send a request, and that the kind has the verb and the subresource.

        Raises StatusError 403, 404, 405.
        """
        self._rbac.check(request.user, authorizer_attributes(request.info))
        if self._handler(request) is _unknown:
            raise no_such_resource()

    async def handle_object(self, request: Request) -> Object:
        """Handle a request for one object from this process; return the object or the Status.

        Raises StatusError.
        """
        info = request.info
        self.authorize(request)
        if info.verb == "get":
            obj = listing.get_object(self._store, request)
            return object_response.with_type_meta(request.kind, obj)
        await self._write_queue.wait()
        if info.verb == "delete":
            obj, _ = await self._deletion_handler.delete_one(
                request, await options.read_delete_options(request)
            )
        elif create := self._created.get(info.subresource):
            return await create(request)
        else:
            obj, _ = await self._written(request)
        return object_response.with_type_meta(request.kind, obj)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, request_id = time.perf_counter(), str(uuid.uuid4())
        audit_id.set(request_id)
        method = scope.get("method", "GET")  # a WebSocket handshake is a GET
        warnings: list[str] = []
        result: AnyResponse
        try:
            result = await self._handle(scope, method, receive, warnings)
        except StatusError as exc:
            result = response.encode_status(exc)
        except StoreError as exc:
            # The response must not show the path of the database file.
            facts = {"path": scope["path"], "cause": exc.message}
            _log.error("object_store_failed", extra=facts)
            result = response.encode_status(
                internal(f"the database of the cluster failed: {exc.hint}")
            )
        except Exception:  # noqa: BLE001 no client may see a traceback
            _log.exception("request_failed", extra={"path": scope["path"]})
            result = response.encode_status(
                internal(f"an internal error occurred, audit id {request_id}")
            )
        _log.debug(
            "request_answered",
            extra={
                "method": method,
                "path": scope["path"],
                "status": result.status,
                "took_ms": round((time.perf_counter() - started) * 1000, 3),
            },
        )
        headers = _headers(result, request_id, warnings)
        if isinstance(result, PassedOnResponse):
            await result.pass_on(receive, send, headers)
        elif isinstance(result, Response):
            await asgi.respond(scope, send, result.status, result.body, headers)
        else:
            await _send(result, headers, receive, send)

    async def _handle(
        self, scope: Scope, method: str, receive: Receive, warnings: list[str]
    ) -> AnyResponse:
        headers, query = read_headers(scope), read_query(scope)
        path = asgi.raw_path(scope)
        info = parse_request_info(method, path, query, self._registry.kinds.find)
        check_timeout(info, query)
        user = await self._authenticator.authenticate(scope, headers)
        user = impersonate(user, scope["headers"], self._rbac)
        request = Request(
            method=method,
            scope=scope,
            receive=receive,
            query=query,
            headers=headers,
            info=info,
            user=user,
            warnings=warnings,
        )
        self._rbac.check(user, authorizer_attributes(info))
        served = self._registry.kinds.group_versions()
        if api_service := self._aggregator.find(info.path, served):
            return await self._aggregator.proxy(request, api_service)
        if not info.plural:
            match info.path.strip("/").split("/"):
                case ["apis"]:
                    delegated = await self._aggregator.discover(served)
                case ["apis", _]:  # lists only the versions
                    delegated = self._aggregator.delegated(served)
                case _:
                    delegated = {}
            return self._discovery.handle(request, delegated)
        try:
            handler = self._handler(request)
            upgrade = self._websockets.negotiate(request)
            if info.verb not in _READ_VERBS:
                # A write takes a millisecond and a disk flush; concurrent writes would block the event loop.
                await self._write_queue.wait()
            result = await handler(request)
            return upgrade(result) if upgrade and isinstance(result, StreamResponse) else result
        except StatusError as exc:
            # The encoding depends on the request, which is known only here.
            return response.encode_status(exc, request)

    def _handler(self, request: Request) -> Handler:
        """Return the handler of a resource request. Raises StatusError 404, 405."""
        info, kind = request.info, request.info.kind
        if kind is None:
            if (info.group, info.version) in self._registry.kinds.group_versions():
                raise no_such_resource()
            return _unknown
        if kind.custom is not None and kind.custom.warning:
            request.warnings.append(kind.custom.warning)
        # Only `list` and `watch` of a namespaced kind have a path without a namespace. A cluster-scoped kind
        # has no path in a namespace: a grant in that namespace would be used for the whole cluster.
        has_location = info.namespaced_path is kind.namespaced
        if (info.name and not has_location) or (info.namespaced_path and not kind.namespaced):
            raise no_such_resource()
        if not info.subresource:
            needs_name = info.verb in ("get", "update", "patch", "delete")
            is_valid = needs_name is bool(info.name) and (
                has_location or info.verb in ("list", "watch")
            )
            if info.verb not in kind.verbs or not is_valid:
                raise method_not_allowed()
            return self._verbs[info.verb] if kind.stored else self._review
        subresource = kind.subresource(info.subresource)
        if subresource is None:
            raise no_such_resource()
        # The verb of OPTIONS is empty, as in the real API server: only a grant of all verbs permits it.
        is_proxied_options = subresource.name == "proxy" and request.method == "OPTIONS"
        if info.verb not in subresource.verbs and not is_proxied_options:
            raise method_not_allowed()
        return self._subresources.get(subresource.name) or self._verbs[info.verb]

    async def _get(self, request: Request) -> Response:
        found = listing.get_object(self._store, request)
        return object_response.respond(request, request.kind, found, self._clock)

    async def _list(self, request: Request) -> AnyResponse:
        result = await listing.list_objects(self._store, request)
        return list_response.respond(request, request.kind, result, self._clock)

    async def _watch(self, request: Request) -> StreamResponse:
        return self._watches.open(request)

    async def _write(self, request: Request) -> Response:
        response.negotiate(request)  # refuse an unacceptable format before the write
        obj, is_new = await self._written(request)
        status = 201 if is_new else 200
        return object_response.respond(request, request.kind, obj, self._clock, status)

    async def _written(self, request: Request) -> tuple[Object, bool]:
        match request.info.verb:
            case "create":
                return await self._registry.create(request), True
            case "update":
                return await self._registry.update(request)
            case _:
                return await self._registry.patch(request)

    async def _delete(self, request: Request) -> Response:
        response.negotiate(request)
        delete_options = await options.read_delete_options(request)
        last, is_removed = await self._deletion_handler.delete_one(request, delete_options)
        kind = request.kind
        if deletion.returns_object(kind, is_removed=is_removed):
            return object_response.respond(request, kind, last, self._clock)
        metadata = last["metadata"]
        return response.encode(request, deletion_status(kind, metadata["name"], metadata["uid"]))

    async def _delete_collection(self, request: Request) -> AnyResponse:
        response.negotiate(request)
        delete_options = await options.read_delete_options(request)
        result = await self._deletion_handler.delete_collection(request, delete_options)
        return list_response.respond(request, request.kind, result, self._clock)

    async def _review(self, request: Request) -> Response:
        response.negotiate(request, has_table=False)
        obj = await self._reviews.create(request)
        return object_response.respond(request, request.kind, obj, self._clock, 201)

    async def _token(self, request: Request) -> Object:
        obj = await token_request.request_token(request, self._store, self._auth_config, self._rbac)
        return object_response.with_type_meta(token_request.TOKEN_REQUEST, obj)

    async def _create_subresource(self, request: Request) -> Response:
        form = response.negotiate(request, has_table=False)
        made = await self._created[request.info.subresource](request)
        return response.encode(request, made, 201, form.media_type)


async def _unknown(_request: Request) -> Response:
    return NOT_FOUND


def _headers(result: AnyResponse, audit_id: str, warnings: list[str]) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"audit-id", audit_id.encode()),
        (b"cache-control", b"no-cache, private"),
    ]
    if not isinstance(result, PassedOnResponse) and result.content_type:
        headers.append((b"content-type", result.content_type.encode()))
    if isinstance(result, Response) and result.retry_after:
        headers.append((b"retry-after", str(result.retry_after).encode()))
    headers += result.headers if isinstance(result, Response) else ()
    headers += [(b"warning", each) for each in response.format_warnings(warnings)]
    return headers


async def _send(
    result: StreamResponse, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send
) -> None:
    await send({"type": "http.response.start", "status": result.status, "headers": headers})
    sender = _StreamSender(result, send)
    body = asyncio.create_task(sender.run())
    disconnect = asyncio.create_task(asgi.wait_for_disconnect(receive))
    while not sender.is_stuck:
        ended, _ = await asyncio.wait(
            {body, disconnect}, timeout=result.write_timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if ended:
            break
    is_disconnected = disconnect.done()
    for task in (body, disconnect):
        task.cancel()
    outcome, _ = await asyncio.gather(body, disconnect, return_exceptions=True)
    if isinstance(outcome, Exception):
        _log.error("stream_failed", exc_info=outcome)
    elif sender.is_stuck:
        _log.info("slow_client_disconnected", extra={"seconds": result.write_timeout})
    elif not is_disconnected:
        # Only a complete stream ends normally; a client sees any other stream as aborted.
        await send({"type": "http.response.body", "body": b""})


class _StreamSender:
    """Sends the chunks of a stream, and measures how long the client has not read."""

    def __init__(self, result: StreamResponse, send: Send) -> None:
        self._response, self._send = result, send
        self._blocked_since: float | None = None

    @property
    def is_stuck(self) -> bool:
        """Return whether the client has not read for the write timeout."""
        if self._blocked_since is None or self._response.write_timeout is None:
            return False
        return time.monotonic() - self._blocked_since >= self._response.write_timeout

    async def run(self) -> None:
        """Send every chunk."""
        chunks = self._response.chunks
        try:
            async for chunk in chunks:
                self._blocked_since = time.monotonic()
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._blocked_since = None
        finally:
            if close := getattr(chunks, "aclose", None):
                await close()
