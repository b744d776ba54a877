"""The edge of the API: raw ASGI in, a request on its way through authentication, RBAC and its handler, out.

Every refusal is a Status. What is not one of our errors is a bug: it is logged with its traceback under
the `Audit-Id` of the answer, which says no more than that.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping

from podpass.clock import Clock
from podpass.http.server import Receive, Scope, Send
from podpass.kubernetes.apiserver import options, response
from podpass.kubernetes.apiserver.admission import warning_headers
from podpass.kubernetes.apiserver.auth import token_request
from podpass.kubernetes.apiserver.auth.authentication import Authenticator, Trust
from podpass.kubernetes.apiserver.auth.impersonation import impersonated
from podpass.kubernetes.apiserver.auth.rbac import Rbac, asked
from podpass.kubernetes.apiserver.auth.reviews import Reviews
from podpass.kubernetes.apiserver.kinds import group_versions
from podpass.kubernetes.apiserver.read import list_response, listing, object_response
from podpass.kubernetes.apiserver.read.discovery import NOT_FOUND, Discovery
from podpass.kubernetes.apiserver.read.watch import Watches
from podpass.kubernetes.apiserver.registry import deletion
from podpass.kubernetes.apiserver.registry.deletion import Deletions
from podpass.kubernetes.apiserver.registry.pod_logs import Logs
from podpass.kubernetes.apiserver.registry.scale import Scales
from podpass.kubernetes.apiserver.registry.store import Resources
from podpass.kubernetes.apiserver.registry.subresources import Subresources
from podpass.kubernetes.apiserver.request import Request, read_headers, read_query, target
from podpass.kubernetes.apiserver.response import Answer, Stream
from podpass.kubernetes.apiserver.status import (
    StatusError,
    deleted,
    internal,
    method_not_allowed,
    no_such_resource,
)
from podpass.kubernetes.apiserver.storage.fairness import Turns
from podpass.kubernetes.apiserver.storage.storage import StoreError
from podpass.log import correlation_id

_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Answer | Stream]]
_READING = ("get", "list", "watch")


class Api:
    """The ASGI application; what it is made of is handed in by `cluster`."""

    def __init__(
        self,
        *,
        resources: Resources,
        authenticator: Authenticator,
        trust: Trust,
        rbac: Rbac,
        discovery: Discovery,
        watches: Watches,
        logs: Logs,
        clock: Clock,
    ) -> None:
        deletions = Deletions(resources)
        parts = Subresources(resources, deletions)
        self._store = resources.store
        self._resources, self._deletions = resources, deletions
        self._authenticator, self._trust, self._rbac = authenticator, trust, rbac
        self._discovery, self._watches, self._clock = discovery, watches, clock
        self._reviews = Reviews(authenticator, rbac, clock)
        self._turns = Turns()
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
        self._parts: Mapping[str, Handler] = {
            "binding": lambda request: self._done(request, parts.bind(request)),
            "eviction": lambda request: self._done(request, parts.evict(request)),
            "log": logs.open,
            "scale": Scales(resources).answer,
            "token": self._token,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        began, audit_id = time.perf_counter(), str(uuid.uuid4())
        correlation_id.set(audit_id)
        warnings: list[str] = []
        done: Answer | Stream
        try:
            done = await self._handle(scope, receive, warnings)
        except StatusError as exc:
            done = response.failure(exc)
        except StoreError as exc:
            # What the database says, without the path, which is no pod's business.
            facts = {"path": scope["path"], "cause": exc.message}
            _log.error("cluster_store_failed", extra=facts)
            done = response.failure(internal(f"the cluster's database fails: {exc.hint}"))
        except Exception:  # noqa: BLE001 the last edge: no client may see a traceback
            _log.exception("request_crashed", extra={"path": scope["path"]})
            done = response.failure(internal(f"an internal error occurred, audit id {audit_id}"))
        _log.debug(
            "request_answered",
            extra={
                "method": scope["method"],
                "path": scope["path"],
                "status": done.status,
                "took_ms": round((time.perf_counter() - began) * 1000, 3),
            },
        )
        await _send(done, _headers(done, audit_id, warnings), receive, send)

    async def _handle(self, scope: Scope, receive: Receive, warnings: list[str]) -> Answer | Stream:
        headers, query = read_headers(scope), read_query(scope)
        aim = target(scope["method"], scope["raw_path"].decode("latin-1"), query)
        user = self._authenticator.user(scope, headers)
        user = impersonated(user, scope["headers"], self._rbac)
        request = Request(
            method=scope["method"],
            scope=scope,
            receive=receive,
            query=query,
            headers=headers,
            target=aim,
            user=user,
            warnings=warnings,
        )
        self._rbac.check(user, asked(aim, _single_name(request)))
        if not aim.plural:
            return self._discovery.answer(request)
        try:
            handler = self._handler(request)
            if aim.verb not in _READING:
                # A write is a millisecond and a flush of the disk; so many at once are no one's turn.
                await self._turns.next()
            return await handler(request)
        except StatusError as exc:
            # Only here it is known how the client wants to read it.
            return response.failure(exc, request)

    def _handler(self, request: Request) -> Handler:
        """Find who answers a resource's request.

        Errors:  StatusError 404, 405.
        """
        aim, kind = request.target, request.target.kind
        if kind is None:
            if (aim.group, aim.version) in group_versions():
                raise no_such_resource()
            return _unknown
        placed = bool(request.place[0]) or not kind.namespaced
        if (aim.name and not placed) or (
            aim.plural != "namespaces" and not kind.namespaced and aim.namespace
        ):
            raise no_such_resource()
        if not aim.subresource:
            named = aim.verb in ("get", "update", "patch", "delete")
            fits = named is bool(aim.name) and (placed or aim.verb != "create")
            if aim.verb not in kind.verbs or not fits:
                raise method_not_allowed(request.method)
            return self._verbs[aim.verb] if kind.stored else self._review
        part = kind.subresource(aim.subresource)
        if part is None:
            raise no_such_resource()
        if aim.verb not in part.verbs:
            raise method_not_allowed(request.method)
        return self._parts.get(part.name) or self._verbs[aim.verb]

    async def _get(self, request: Request) -> Answer:
        found = listing.read(self._store, request)
        return object_response.one(request, request.kind, found, self._clock)

    async def _list(self, request: Request) -> Answer | Stream:
        page = await listing.page(self._store, request)
        return list_response.answered(request, request.kind, page, self._clock)

    async def _watch(self, request: Request) -> Stream:
        return self._watches.open(request)

    async def _create(self, request: Request) -> Answer:
        response.accepted(request)  # refuse before anything is written
        made = await self._resources.create(request)
        return object_response.one(request, request.kind, made, self._clock, 201)

    async def _update(self, request: Request) -> Answer:
        response.accepted(request)
        made, new = await self._resources.update(request)
        return object_response.one(request, request.kind, made, self._clock, 201 if new else 200)

    async def _patch(self, request: Request) -> Answer:
        response.accepted(request)
        made, new = await self._resources.patch(request)
        return object_response.one(request, request.kind, made, self._clock, 201 if new else 200)

    async def _delete(self, request: Request) -> Answer:
        response.accepted(request)
        how = await options.delete(request)
        last, gone = await self._deletions.one(request, how)
        kind = request.kind
        if deletion.shows_object(kind, gone=gone):
            return object_response.one(request, kind, last, self._clock)
        metadata = last["metadata"]
        return response.whole(request, deleted(kind, metadata["name"], metadata["uid"]))

    async def _delete_collection(self, request: Request) -> Answer | Stream:
        response.accepted(request)
        how = await options.delete(request)
        page = await self._deletions.collection(request, how)
        return list_response.answered(request, request.kind, page, self._clock)

    async def _review(self, request: Request) -> Answer:
        made = await self._reviews.answer(request)
        return response.whole(request, object_response.typed(request.kind, made), 201)

    async def _token(self, request: Request) -> Answer:
        made = await token_request.request_token(request, self._store, self._trust)
        return response.whole(
            request, object_response.typed(token_request.TOKEN_REQUEST, made), 201
        )

    async def _done(self, request: Request, work: Awaitable[dict[str, object]]) -> Answer:
        return response.whole(request, await work, 201)


async def _unknown(_request: Request) -> Answer:
    return NOT_FOUND


def _single_name(request: Request) -> str:
    """A list or watch of one name counts as a read of that name, for rules with resourceNames."""
    for term in request.option("fieldSelector").split(","):
        path, _, name = term.partition("=")
        if path == "metadata.name" and request.target.verb in ("list", "watch", "deletecollection"):
            return name.removeprefix("=")
    return ""


def _headers(
    done: Answer | Stream, audit_id: str, warnings: list[str]
) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"audit-id", audit_id.encode()),
        (b"cache-control", b"no-cache, private"),
    ]
    if done.content_type:
        headers.append((b"content-type", done.content_type.encode()))
    if isinstance(done, Answer) and done.retry_after:
        headers.append((b"retry-after", str(done.retry_after).encode()))
    headers += [(b"warning", each) for each in warning_headers.written(warnings)]
    return headers


async def _send(
    done: Answer | Stream, headers: list[tuple[bytes, bytes]], receive: Receive, send: Send
) -> None:
    if isinstance(done, Answer):
        if done.status != 204:
            headers.append((b"content-length", str(len(done.body)).encode()))
        await send({"type": "http.response.start", "status": done.status, "headers": headers})
        await send({"type": "http.response.body", "body": done.body})
        return
    await send({"type": "http.response.start", "status": done.status, "headers": headers})
    pump = _Pump(done, send)
    body = asyncio.create_task(pump.run())
    gone = asyncio.create_task(_gone(receive))
    while not pump.is_stuck:
        ended, _ = await asyncio.wait(
            {body, gone}, timeout=done.patience, return_when=asyncio.FIRST_COMPLETED
        )
        if ended:
            break
    left = gone.done()
    for task in (body, gone):
        task.cancel()
    outcome, _ = await asyncio.gather(body, gone, return_exceptions=True)
    if isinstance(outcome, Exception):
        _log.error("stream_broke", exc_info=outcome)
    elif pump.is_stuck:
        _log.info("slow_client_cut_off", extra={"seconds": done.patience})
    elif not left:
        # Only a stream that came to its end says so; from any other the client hears that it is broken.
        await send({"type": "http.response.body", "body": b""})


class _Pump:
    """Sends a stream on, and knows since when its client takes nothing."""

    def __init__(self, done: Stream, send: Send) -> None:
        self._done, self._send = done, send
        self._since: float | None = None

    @property
    def is_stuck(self) -> bool:
        if self._since is None or self._done.patience is None:
            return False
        return time.monotonic() - self._since >= self._done.patience

    async def run(self) -> None:
        chunks = self._done.chunks
        try:
            async for chunk in chunks:
                self._since = time.monotonic()
                await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
                self._since = None
        finally:
            if close := getattr(chunks, "aclose", None):
                await close()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
