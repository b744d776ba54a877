"""API groups that an APIService delegates to a Service: discovery, and requests forwarded to a ready pod.

The Service is resolved like that of a webhook: to a configured origin, or to the address of a ready pod. The
pod's server gets the user in `X-Remote-*` headers, without the caller's credential. The real API server has a
client certificate for this connection; this one has none.
"""

import base64
import binascii
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import orjson

from kubeling.apiserver.admission import service_resolver
from kubeling.apiserver.admission.webhook_response import WebhookFailed
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.request import Request, UserInfo
from kubeling.apiserver.response import StreamResponse
from kubeling.apiserver.status import Body, StatusError
from kubeling.apiserver.storage.storage import Object, ObjectStore

_KIND = kind_by_name("APIService")
_SENT_ON = ("accept", "content-type", "user-agent")
_MAX_DISCOVERY_BYTES = 1024 * 1024
_DISCOVERY_SECONDS = 2.0
_CONNECT_SECONDS = 5.0
_WRITE_TIMEOUT_SECONDS = 60.0


class Aggregator:
    """Finds the APIServices of requests, and forwards requests to their Services."""

    def __init__(self, store: ObjectStore, services: Mapping[str, str]) -> None:
        self._store, self._services = store, services
        self._session: Any = None

    async def close(self) -> None:
        """Close all connections."""
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
            StatusError: 503, with the reason.
        """
        query = request.scope["query_string"].decode("latin-1")
        path = request.info.path + (f"?{query}" if query else "")
        headers = {name: request.headers[name] for name in _SENT_ON if name in request.headers}
        body = await request.body()
        response = await self._open(
            api_service,
            request.method,
            path,
            [*headers.items(), *_user_headers(request.user)],
            body,
        )
        content_type = response.headers.get("content-type", "")
        chunks = _chunks(response)
        return StreamResponse(response.status, chunks, content_type, _WRITE_TIMEOUT_SECONDS)

    async def discover(self, served: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Body]:
        """Return the APIResourceList of each delegated group and version; empty if it is unavailable."""
        found: dict[tuple[str, str], Body] = {}
        for entry in self._store.list_stored(_KIND):
            spec = (api_service := entry.object())["spec"]
            name = (spec["group"], spec["version"])
            if spec.get("service") and name not in served:
                found[name] = await self._resources(api_service)
        return found

    async def _resources(self, api_service: Object) -> Body:
        spec = api_service["spec"]
        path = f"/apis/{spec['group']}/{spec['version']}"
        headers = [("accept", "application/json"), ("x-remote-user", "system:aggregator")]
        try:
            response = await self._open(
                api_service, "GET", path, headers, b"", seconds=_DISCOVERY_SECONDS
            )
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
        *,
        seconds: float | None = None,
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
                ssl=_context(api_service["spec"]),
                server_hostname=f"{service['name']}.{service['namespace']}.svc",
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS),
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


def _context(spec: Mapping[str, Any]) -> ssl.SSLContext:
    """Return the TLS context for a Service: its caBundle, or no verification if the spec says so."""
    bundle = spec.get("caBundle") or ""
    try:
        pem = base64.b64decode(bundle, validate=False).decode()
        context = ssl.create_default_context(cadata=pem or None)
    except (binascii.Error, ValueError, ssl.SSLError) as exc:
        raise WebhookFailed("the caBundle contains no valid certificate") from exc
    if spec.get("insecureSkipTLSVerify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


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
