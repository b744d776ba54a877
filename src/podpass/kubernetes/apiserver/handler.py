"""The ASGI application: authenticates and authorizes a request, calls its handler and sends the response.

Every error response is a Status. An unexpected exception is a bug: it is logged with its traceback under the
`Audit-Id`, and the response contains only that id.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping

from podpass.http.server import Receive, Scope, Send
from podpass.http.upgrade import offered_upgrade
from podpass.kubernetes.apiserver import options, response
from podpass.kubernetes.apiserver.admission import warning_headers
from podpass.kubernetes.apiserver.auth import token_request
from podpass.kubernetes.apiserver.auth.authentication import AuthConfig, Authenticator
from podpass.kubernetes.apiserver.auth.impersonation import impersonate
from podpass.kubernetes.apiserver.auth.rbac import RbacAuthorizer, authorizer_attributes
from podpass.kubernetes.apiserver.auth.reviews import ReviewHandler
from podpass.kubernetes.apiserver.read import list_response, listing, object_response
from podpass.kubernetes.apiserver.read.discovery import NOT_FOUND, DiscoveryHandler
from podpass.kubernetes.apiserver.read.watch import WatchHandler
from podpass.kubernetes.apiserver.registry import deletion
from podpass.kubernetes.apiserver.registry.deletion import DeletionHandler
from podpass.kubernetes.apiserver.registry.scale import ScaleHandler
from podpass.kubernetes.apiserver.registry.store import Registry
from podpass.kubernetes.apiserver.registry.subresources import PodSubresources
from podpass.kubernetes.apiserver.request import (
    Request,
    check_timeout,
    parse_request_info,
    read_headers,
    read_query,
)
from podpass.kubernetes.apiserver.response import Response, StreamResponse, UpgradeResponse
from podpass.kubernetes.apiserver.status import (
    StatusError,
    deletion_status,
    internal,
    method_not_allowed,
    no_such_resource,
)
from podpass.kubernetes.apiserver.storage.fairness import FairQueue
from podpass.kubernetes.apiserver.storage.storage import StoreError
from podpass.kubernetes.apiserver.websocket_streams import WebSocketStreams
from podpass.log import correlation_id

_log = logging.getLogger(__name__)

AnyResponse = Response | StreamResponse | UpgradeResponse
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
        kubelet_requests: Mapping[str, Handler],
    ) -> None:
        deletion_handler = DeletionHandler(registry)
        subresources = PodSubresources(registry, deletion_handler)
        self._store = registry.store
        self._registry, self._deletion_handler = registry, deletion_handler
        self._authenticator, self._auth_config, self._rbac = authenticator, auth_config, rbac
        self._discovery, self._watches, self._websockets = discovery, watches, websockets
        self._clock = registry.clock
        self._reviews = ReviewHandler(authenticator, rbac, registry.clock)
        self._write_queue = FairQueue()
        self._verbs: Mapping[str, Handler] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        self._subresources: Mapping[str, Handler] = {
            "binding": lambda request: self._encode_result(request, subresources.bind),
            "eviction": lambda request: self._encode_result(request, subresources.evict),
            "scale": ScaleHandler(registry).handle,
            "token": self._token,
            **kubelet_requests,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        started, audit_id = time.perf_counter(), str(uuid.uuid4())
        correlation_id.set(audit_id)
        warnings: list[str] = []
        result: AnyResponse
        try:
            result = await self._handle(scope, receive, warnings)
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
                internal(f"an internal error occurred, audit id {audit_id}")
            )
        _log.debug(
            "request_answered",
            extra={
                "method": scope["method"],
                "path": scope["path"],
                "status": result.status,
                "took_ms": round((time.perf_counter() - started) * 1000, 3),
            },
        )
        headers = _headers(result, audit_id, warnings)
        if isinstance(result, UpgradeResponse):
            await _upgrade(result, scope, headers)
        else:
            await _send(result, headers, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, warnings: list[str]) -> AnyResponse:
        headers, query = read_headers(scope), read_query(scope)
        path = scope["raw_path"].decode("latin-1")
        info = parse_request_info(scope["method"], path, query, self._registry.kinds.find)
        check_timeout(info, query)
        user = self._authenticator.authenticate(scope, headers)
        user = impersonate(user, scope["headers"], self._rbac)
        request = Request(
            method=scope["method"],
            scope=scope,
            receive=receive,
            query=query,
            headers=headers,
            info=info,
            user=user,
            warnings=warnings,
        )
        self._rbac.check(user, authorizer_attributes(info))
        if not info.plural:
            return self._discovery.handle(request)
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
        """Return the handler of a resource request.

        Errors:  StatusError 404, 405.
        """
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
        if info.verb not in subresource.verbs:
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

    async def _create(self, request: Request) -> Response:
        response.negotiate(request)  # refuse an unacceptable format before the write
        obj = await self._registry.create(request)
        return object_response.respond(request, request.kind, obj, self._clock, 201)

    async def _update(self, request: Request) -> Response:
        response.negotiate(request)
        obj, is_new = await self._registry.update(request)
        return object_response.respond(
            request, request.kind, obj, self._clock, 201 if is_new else 200
        )

    async def _patch(self, request: Request) -> Response:
        response.negotiate(request)
        obj, is_new = await self._registry.patch(request)
        return object_response.respond(
            request, request.kind, obj, self._clock, 201 if is_new else 200
        )

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

    async def _token(self, request: Request) -> Response:
        form = response.negotiate(request, has_table=False)
        obj = await token_request.request_token(request, self._store, self._auth_config, self._rbac)
        whole = object_response.with_type_meta(token_request.TOKEN_REQUEST, obj)
        return response.encode(request, whole, 201, form.media_type)

    async def _encode_result(
        self, request: Request, work: Callable[[Request], Awaitable[dict[str, object]]]
    ) -> Response:
        form = response.negotiate(request, has_table=False)
        return response.encode(request, await work(request), 201, form.media_type)


async def _unknown(_request: Request) -> Response:
    return NOT_FOUND


def _headers(result: AnyResponse, audit_id: str, warnings: list[str]) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"audit-id", audit_id.encode()),
        (b"cache-control", b"no-cache, private"),
    ]
    if not isinstance(result, UpgradeResponse) and result.content_type:
        headers.append((b"content-type", result.content_type.encode()))
    if isinstance(result, Response) and result.retry_after:
        headers.append((b"retry-after", str(result.retry_after).encode()))
    headers += [(b"warning", each) for each in warning_headers.format_headers(warnings)]
    return headers


async def _upgrade(
    result: UpgradeResponse, scope: Scope, headers: list[tuple[bytes, bytes]]
) -> None:
    upgrade = offered_upgrade(scope)
    assert upgrade is not None
    await result.relay(upgrade.accept([*headers, *result.headers]))


async def _send(
    result: Response | StreamResponse,
    headers: list[tuple[bytes, bytes]],
    receive: Receive,
    send: Send,
) -> None:
    if isinstance(result, Response):
        if result.status != 204:
            headers.append((b"content-length", str(len(result.body)).encode()))
        await send({"type": "http.response.start", "status": result.status, "headers": headers})
        await send({"type": "http.response.body", "body": result.body})
        return
    await send({"type": "http.response.start", "status": result.status, "headers": headers})
    sender = _StreamSender(result, send)
    body = asyncio.create_task(sender.run())
    disconnect = asyncio.create_task(_wait_for_disconnect(receive))
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


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
