"""API groups that an APIService delegates to a Service: discovery, and requests forwarded to a ready pod.

The Service is resolved like that of a webhook: to a configured origin, or to the address of a ready pod. The
pod's server gets the user in `X-Remote-*` headers, without the caller's credential. The real API server has a
client certificate for this connection; this one has none.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import orjson

from kubeling.apiserver.admission import service_resolver
from kubeling.apiserver.admission.webhook_response import WebhookFailed
from kubeling.apiserver.customresources.served_kinds import version_order
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.request import Request, UserInfo
from kubeling.apiserver.response import StreamResponse
from kubeling.apiserver.status import Body, StatusError, bad_request
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.asgi import wait_for_disconnect

_KIND = kind_by_name("APIService")
_SENT_ON = ("accept", "content-type", "user-agent")
_MAX_DISCOVERY_BYTES = 1024 * 1024
_DISCOVERY_SECONDS, _MAX_DISCOVERIES = 2.0, 32
# How long a result of discovery is used; a change of the APIService, such as of its status, ends it earlier.
_FRESH_SECONDS = 5.0
_HEADER_SECONDS = 60.0
_CONNECT_SECONDS = 5.0
_WRITE_TIMEOUT_SECONDS = 60.0


class Aggregator:
    """Finds the APIServices of requests, and forwards requests to their Services."""

    def __init__(self, store: ObjectStore, services: Mapping[str, str]) -> None:
        self._store, self._services = store, services
        self._session: Any = None
        self._discoveries: dict[tuple[str, str], tuple[float, asyncio.Task[Body]]] = {}
        self._limit = asyncio.Semaphore(_MAX_DISCOVERIES)

    async def close(self) -> None:
        """Close all connections."""
        for _, task in self._discoveries.values():
            task.cancel()
        if self._session is not None:
            await self._session.close()

    def find(self, path: str, served: Sequence[tuple[str, str]]) -> Object | None:
        """Return the APIService of a path; None if there is none, or this API server serves the group."""
        parts = path.strip("/").split("/")
        if parts[0] != "apis" or len(parts) < 3 or (parts[1], parts[2]) in served:
            return None
        # RBAC authorizes the path as it stands: an extension server could read such a path as another one.
        decoded = [unquote(part) for part in path.removeprefix("/").rstrip("/").split("/")]
        if any(part in ("", ".", "..") or "/" in part for part in decoded):
            return None
        found = self._store.get(_KIND, "", f"{parts[2]}.{parts[1]}")
        return found if found and found["spec"].get("service") else None

    async def proxy(self, request: Request, api_service: Object) -> StreamResponse:
        """Forward a request to the Service of an APIService, and return its response as it arrives.

        Raises:
            StatusError: 400 for a WebSocket; 503, with the reason; 504 for a response that does not begin.
        """
        if request.scope["type"] == "websocket":
            raise bad_request("WebSockets are not forwarded to the Service of an APIService")
        query = request.scope["query_string"].decode("latin-1")
        path = request.info.path + (f"?{query}" if query else "")
        headers = {name: request.headers[name] for name in _SENT_ON if name in request.headers}
        body = await request.body()
        given = [*headers.items(), *_user_headers(request.user)]
        opening = asyncio.create_task(self._open(api_service, request.method, path, given, body))
        disconnect = asyncio.create_task(wait_for_disconnect(request.receive))
        seconds = None if request.info.verb == "watch" else _HEADER_SECONDS
        try:
            await asyncio.wait(
                {opening, disconnect}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if disconnect.done() and not opening.done():
                raise asyncio.CancelledError
            if not opening.done():
                message = (
                    f"the APIService {api_service['metadata']['name']} did not respond in time"
                )
                raise StatusError(504, "Timeout", message)
            response = opening.result()
        finally:
            for task in (opening, disconnect):
                task.cancel()
        content_type = response.headers.get("content-type", "")
        chunks = _chunks(response)
        return StreamResponse(response.status, chunks, content_type, _WRITE_TIMEOUT_SECONDS)

    def delegated(self, served: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Object]:
        """Return the APIService of each delegated group and version, in the order of kube-aggregator.

        The group with the highest priority of a version is the first, and in it the version with the highest
        priority; names decide between equal priorities.
        """
        found: dict[tuple[str, str], Object] = {}
        groups: dict[str, int] = {}
        for entry in self._store.list_stored(_KIND):
            spec = (api_service := entry.object())["spec"]
            name = (spec["group"], spec["version"])
            if spec.get("service") and name not in served:
                found[name] = api_service
                groups[name[0]] = max(groups.get(name[0], 0), spec["groupPriorityMinimum"])

        def order(name: tuple[str, str]) -> tuple[Any, ...]:
            group, version = name
            priority = found[name]["spec"]["versionPriority"]
            return -groups[group], group, -priority, version_order(version)

        return {name: found[name] for name in sorted(found, key=order)}

    async def discover(self, served: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Body]:
        """Return the APIResourceList of each delegated group and version; empty if it is unavailable."""
        tasks: dict[tuple[str, str], asyncio.Task[Body]] = {}
        now, before = time.monotonic(), self._discoveries
        self._discoveries = {}
        for name, api_service in self.delegated(served).items():
            metadata = api_service["metadata"]
            key = metadata["uid"], metadata["resourceVersion"]
            until, task = before.get(key, (0.0, None))
            if task is None or now >= until:
                until, task = (
                    now + _FRESH_SECONDS,
                    asyncio.create_task(self._resources(api_service)),
                )
            self._discoveries[key], tasks[name] = (until, task), task
        if tasks:
            # A client that disconnects must not cancel the tasks, because others wait for them too.
            await asyncio.wait(tasks.values())
        return {name: task.result() for name, task in tasks.items()}

    async def _resources(self, api_service: Object) -> Body:
        spec = api_service["spec"]
        path = f"/apis/{spec['group']}/{spec['version']}"
        headers = [("accept", "application/json"), ("x-remote-user", "system:aggregator")]
        try:
            async with asyncio.timeout(_DISCOVERY_SECONDS), self._limit:
                response = await self._open(api_service, "GET", path, headers, b"")
                async with response:
                    found: Body = orjson.loads(await _read_all(response))
        except (StatusError, OSError, EOFError, ValueError):
            return {}
        return found if isinstance(found, dict) and isinstance(found.get("resources"), list) else {}

    async def _open(
        self,
        api_service: Object,
        method: str,
        path: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
    ) -> Any:
        import aiohttp
        import yarl

        if self._session is None:
            # Without a limit, because a watch holds its connection. A cookie belongs to one user.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept-Encoding",),
                trust_env=False,
                auto_decompress=False,
            )
        name, service = api_service["metadata"]["name"], api_service["spec"]["service"]
        try:
            return await self._session.request(
                method,
                yarl.URL(self._origin(service) + path, encoded=True),
                headers=headers,
                data=body or None,
                ssl=service_resolver.tls_context(
                    api_service["spec"].get("caBundle") or "",
                    verify=not api_service["spec"].get("insecureSkipTLSVerify"),
                ),
                server_hostname=f"{service['name']}.{service['namespace']}.svc",
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                allow_redirects=False,
            )
        except (WebhookFailed, aiohttp.ClientError, OSError) as exc:
            reason = exc.message if isinstance(exc, WebhookFailed) else str(exc)
            message = f"the APIService {name} is unavailable: {reason}"
            raise StatusError(503, "ServiceUnavailable", message) from exc

    def _origin(self, service: Mapping[str, Any]) -> str:
        name, namespace = service["name"], service["namespace"]
        port = service.get("port", 443)
        origin = self._services.get(f"{namespace}/{name}:{port}")
        return origin or f"https://{service_resolver.resolve(self._store, namespace, name, port)}"


def _user_headers(user: UserInfo) -> list[tuple[str, str]]:
    """Return the user in headers; the caller's own headers of these names are not forwarded."""
    return [
        ("x-remote-user", user.name),
        *(("x-remote-group", group) for group in user.groups),
        *(
            (f"x-remote-extra-{quote(key.lower(), safe='')}", value)
            for key, values in user.extra.items()
            for value in values
        ),
    ]


async def _chunks(response: Any) -> AsyncIterator[bytes]:
    async with response:
        async for chunk in response.content.iter_any():
            yield chunk


async def _read_all(response: Any) -> bytes:
    """Read a list of resources.

    Raises:
        OSError: the body is not complete.
        ValueError: the body is too long.
    """
    import aiohttp

    body = b""
    try:
        async for chunk in response.content.iter_chunked(_MAX_DISCOVERY_BYTES):
            body += chunk
            if len(body) > _MAX_DISCOVERY_BYTES:
                raise ValueError("the list of resources is too long")
    except aiohttp.ClientError as exc:
        raise OSError(str(exc)) from exc
    return body
