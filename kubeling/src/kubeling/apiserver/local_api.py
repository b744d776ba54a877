"""The `Api` of one user in the process of the API server: no connection, no TLS, no HTTP.

A request is authorized and admitted in the same way as an HTTP request.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import parse_qs

from kubeling.api import MERGE_PATCH, ApiError, Event, Object
from kubeling.apiserver.handler import ApiServer
from kubeling.apiserver.read import object_response
from kubeling.apiserver.registry.store import Registry
from kubeling.apiserver.request import Request, UserInfo, parse_request_info
from kubeling.apiserver.status import StatusError
from kubeling.apiserver.storage.storage import StoreError
from kubeling.apiserver.storage.watch_cache import DELETED, ResourceExpired


class LocalApi:
    """The requests of one user."""

    def __init__(self, app: ApiServer, registry: Registry, user: UserInfo, server: str) -> None:
        self._app, self._registry, self._user = app, registry, user
        self.server = server

    async def get(self, path: str) -> Object:
        """Read an object."""
        return await self._send("GET", path, None)

    async def create(self, path: str, body: Object) -> Object:
        """Create an object."""
        return await self._send("POST", path, body)

    async def patch(self, path: str, body: Any, content_type: str = MERGE_PATCH) -> Object:
        """Patch an object."""
        return await self._send("PATCH", path, body, content_type)

    async def delete(self, path: str, options: Object | None = None) -> Object:
        """Delete an object."""
        return await self._send("DELETE", path, options or {})

    async def list(self, path: str) -> Sequence[Object]:
        """Read a collection."""
        request = self._authorized("GET", path)
        kind, store = request.kind, self._registry.store
        found = [entry.object() for entry in store.list_stored(kind, request.info.namespace)]
        return [object_response.with_type_meta(kind, obj) for obj in found]

    async def watch(self, path: str, *, metadata_only: bool = False) -> AsyncIterator[Event]:
        """Watch a collection until cancelled; see `Api.watch`."""
        request = self._authorized("GET", f"{path}?watch=true")
        store, resource, cursor = self._registry.store, request.kind.resource, -1
        known: dict[tuple[str, str], str] = {}
        while True:
            try:
                if cursor < 0:
                    cursor = store.revision
                    changes = self._relist(request, known)
                else:
                    changes = [
                        (change.type, change.object())
                        for change in store.watch_cache.events_since(cursor, resource)
                    ]
                    cursor = max(cursor, store.watch_cache.last_change(resource))
            except ResourceExpired:
                cursor = -1
                continue
            for kind, obj in changes:
                if kind != "SYNCED" and not self._is_in(request, obj):
                    continue
                if kind == DELETED:
                    known.pop(_key(obj), None)
                elif kind != "SYNCED":
                    known[_key(obj)] = obj["metadata"]["uid"]
                yield kind, _shown(request, kind, obj, metadata_only=metadata_only)
            if store.watch_cache.last_change(resource) <= cursor:
                change_made = store.watch_cache.next_change(resource)
                try:
                    await change_made
                finally:
                    store.watch_cache.remove_waiter(resource, change_made)

    def _relist(self, request: Request, known: dict[tuple[str, str], str]) -> Sequence[Event]:
        """Return the events of a new list: DELETED for missing objects, ADDED for all others, then SYNCED."""
        entries = self._registry.store.list_stored(request.kind, request.info.namespace)
        found = [entry.object() for entry in entries]
        present = {_key(obj): obj["metadata"]["uid"] for obj in found}
        deleted = [
            (DELETED, {"metadata": {"namespace": key[0], "name": key[1], "uid": uid}})
            for key, uid in known.items()
            if present.get(key) != uid
        ]
        return [*deleted, *(("ADDED", obj) for obj in found), ("SYNCED", {})]

    def _authorized(self, method: str, path: str) -> Request:
        request = self._request(method, path, None, "")
        try:
            self._app.authorize(request)
        except StatusError as exc:
            raise ApiError(exc.status, exc.reason, exc.message) from exc
        return request

    @staticmethod
    def _is_in(request: Request, obj: Object) -> bool:
        namespace = request.info.namespace
        return not namespace or obj["metadata"].get("namespace") == namespace

    async def _send(self, method: str, path: str, body: Any, content_type: str = "") -> Object:
        request = self._request(method, path, body, content_type)
        try:
            return await self._app.handle_object(request)
        except StatusError as exc:
            raise ApiError(exc.status, exc.reason, exc.message) from exc
        except StoreError as exc:
            raise ApiError(500, "InternalError", exc.message) from exc
        finally:
            # A request without I/O never yields to the event loop; let other tasks run.
            await asyncio.sleep(0)

    def _request(self, method: str, path: str, body: Any, content_type: str) -> Request:
        path, _, query_text = path.partition("?")
        query = parse_qs(query_text, keep_blank_values=True)
        return Request(
            method=method,
            scope={},
            receive=_no_body,
            query=query,
            headers={"content-type": content_type, "user-agent": "kubelet"},
            info=parse_request_info(method, path, query, self._registry.kinds.find),
            user=self._user,
            value=body,
        )


def _shown(request: Request, kind: str, obj: Object, *, metadata_only: bool) -> Object:
    if kind == "SYNCED" or metadata_only:
        return {"metadata": obj["metadata"]} if obj else {}
    return object_response.with_type_meta(request.kind, obj)


def _key(obj: Object) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


async def _no_body() -> dict[str, Any]:
    return {"type": "http.disconnect"}
