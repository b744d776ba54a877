"""A session with one API server: requests, errors, list pages and watch streams."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from podpass import __version__
from podpass.kubernetes.client import reflector
from podpass.kubernetes.client.config import Target, read_kubeconfig
from podpass.kubernetes.client.errors import KubeError, KubeUnreachable
from podpass.kubernetes.client.exec_plugin import PluginCredential, load_certificate
from podpass.kubernetes.client.responses import (
    Object,
    error_of,
    parse_object,
    read_body,
    read_lines,
    status_error,
)

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Params = Mapping[str, str]
Page = tuple[list[Object], str]

# Requests PartialObjectMetadata; a server that does not support it sends the whole object.
_JSON = "application/json"
_METADATA = _JSON + ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1," + _JSON
_METADATA_LIST = _JSON + ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1," + _JSON
_PAGE = 250
_MAX_PAGES = 4000  # a million objects
_UNAUTHORIZED, _NOT_FOUND = 401, 404
_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)
# A watch may be silent for minutes. Keep-alive probes detect a server that has disappeared.
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
)


class KubeClient:
    """A session with one API server; close it, or use it as a context manager."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._kubeconfig: Path | None = None
        self._context = ""
        self._session: aiohttp.ClientSession | None = None
        self._trusted = _changed(target.ca_file)
        self._credential: PluginCredential | None = None

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str = "") -> Self:
        """Connect to the API server of a context, by default the current one. Raises BadKubeconfig."""
        client = cls(read_kubeconfig(path, context))
        client._kubeconfig, client._context = path, context
        return client

    def reload(self) -> None:
        """Read the kubeconfig again; requests in flight are completed with the old credential.

        Raises BadKubeconfig.
        """
        assert self._kubeconfig is not None, "this client has no kubeconfig"
        self.target = read_kubeconfig(self._kubeconfig, self._context)
        self._credential = None

    def follow_kubeconfig(self) -> None:
        """Read the kubeconfig again if it, or a certificate that it names, has changed.

        Raises BadKubeconfig; the client is unchanged then.
        """
        if self._kubeconfig is not None and self.target.is_outdated():
            self.reload()

    @property
    def server(self) -> str:
        return self.target.server

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(
        self, path: str, params: Params | None = None, *, metadata_only: bool = False
    ) -> Object:
        """Read an object or a list; `path` starts at the server's root."""
        accept = _METADATA if metadata_only else _JSON
        return parse_object(await self._request("GET", path, params, accept=accept))

    async def find(self, path: str, *, metadata_only: bool = False) -> Object | None:
        """Read an object, None if it does not exist."""
        try:
            return await self.get(path, metadata_only=metadata_only)
        except KubeError as exc:
            if exc.status == _NOT_FOUND:
                return None
            raise

    async def text(self, path: str, params: Params | None = None, *, accept: str = _JSON) -> str:
        """Read a response that is not JSON, such as a pod log or a health page."""
        return (await self._request("GET", path, params, accept=accept)).decode("utf-8", "replace")

    async def create(self, path: str, body: Object, params: Params | None = None) -> Object:
        return parse_object(await self._request("POST", path, params, body))

    async def replace(self, path: str, body: Object, params: Params | None = None) -> Object:
        return parse_object(await self._request("PUT", path, params, body))

    async def patch(
        self, path: str, body: Any, content_type: str = MERGE_PATCH, params: Params | None = None
    ) -> Object:
        return parse_object(await self._request("PATCH", path, params, body, content_type))

    async def delete(
        self, path: str, body: Object | None = None, params: Params | None = None
    ) -> Object:
        return parse_object(await self._request("DELETE", path, params, body))

    async def create_event(self, namespace: str, event: Object) -> None:
        """Create an Event; see `EventSink`."""
        await self.create(f"/api/v1/namespaces/{namespace}/events", event)

    async def patch_event(self, namespace: str, name: str, change: Object) -> None:
        """Merge top-level fields into an Event; see `EventSink`."""
        await self.patch(f"/api/v1/namespaces/{namespace}/events/{name}", change)

    def watch(
        self,
        path: str,
        params: Params | None = None,
        *,
        metadata_only: bool = False,
        on_failure: Callable[[KubeError], None] = reflector.ignore,
    ) -> AsyncIterator[tuple[str, Object]]:
        """Watch a collection until cancelled, through restarts of the server and expired resource versions.

        First every object as ADDED, then ("SYNCED", {}), then ADDED, MODIFIED and DELETED. After an expired
        resource version the list is read again, with DELETED (metadata only) for objects that no longer
        exist, and another SYNCED. `metadata_only` requests only the metadata. Raises none; failures are
        logged, passed to `on_failure`, and retried with backoff.
        """
        return reflector.watch(
            self, path, params, metadata_only=metadata_only, on_failure=on_failure
        )

    async def list(self, path: str, params: Params | None = None) -> Page:
        """Read a whole collection, page by page; return it and its resource version."""
        found: list[Object] = []
        version = ""
        async for items, of_all in self.pages(path, params):
            found += items
            version = of_all
        return found, version

    async def pages(
        self, path: str, params: Params | None = None, *, metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """Yield the pages of a collection, each with the resource version of the collection.

        At most 250 objects a page, so that no page blocks the event loop for long. Raises KubeError, also for
        a collection that does not end.
        """
        accept = _METADATA_LIST if metadata_only else _JSON
        page: dict[str, str] = {**(params or {}), "limit": str(_PAGE)}
        for _ in range(_MAX_PAGES):
            answer = parse_object(await self._request("GET", path, page, accept=accept))
            about, items = answer.get("metadata") or {}, answer.get("items") or []
            parts = (about, *items) if isinstance(items, list) else (None,)
            if not all(isinstance(each, dict) for each in parts):
                raise KubeError(502, "BadAnswer", f"{path} is not a list of objects")
            yield items, str(about.get("resourceVersion", ""))
            if not about.get("continue"):
                return
            page["continue"] = str(about["continue"])
        raise KubeError(502, "BadAnswer", f"{path} has more than {_MAX_PAGES} pages")

    async def stream(
        self, path: str, params: Params, seconds: float, *, metadata_only: bool = False
    ) -> AsyncIterator[tuple[str, Object]]:
        """Yield the events of one watch request until it ends, or `seconds` have passed.

        Raises KubeError, also for an event of type ERROR.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10)
        accept = _METADATA if metadata_only else _JSON
        await self._run_plugin()
        try:
            async with self._open("GET", path, params, accept=accept, timeout=timeout) as answer:
                if answer.status >= 300:
                    self._forget_credential(answer.status)
                    raise error_of(answer.status, await read_body(answer))
                async for line in read_lines(answer.content):
                    event = orjson.loads(line)
                    kind, item = event.get("type", ""), event.get("object") or {}
                    if kind == "ERROR":
                        raise status_error(int(item.get("code") or 500), item)
                    yield kind, item
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise KubeUnreachable(self.server, _cause(exc), self._kubeconfig) from exc

    async def websocket(
        self,
        path: str,
        params: Sequence[tuple[str, str]],
        protocols: Sequence[str],
        seconds: float | None,
        *,
        close_seconds: float | None = None,
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a WebSocket to a subresource such as `exec`; the caller closes it.

        Units: `seconds` limits the time to each message, None if there is no limit; `close_seconds` the time
        to the other side's answer to a close, by default `seconds`. Raises KubeError.
        """
        close_seconds = seconds if close_seconds is None else close_seconds
        timeout = aiohttp.ClientWSTimeout(ws_receive=seconds, ws_close=close_seconds)
        is_retry = False
        while True:
            await self._run_plugin()
            session, how = self._prepare()
            how |= {"params": params, "protocols": protocols, "timeout": timeout}
            try:
                opened: aiohttp.ClientWebSocketResponse = await session.ws_connect(
                    self.target.server + path, **how
                )
            except aiohttp.WSServerHandshakeError as exc:
                # The plugin may have a newer credential than the one that the server refused.
                if not self._forget_credential(exc.status) or is_retry:
                    message = f"the API server refused the stream with status {exc.status}"
                    raise KubeError(exc.status, "Refused", message) from exc
                is_retry = True
            except (aiohttp.ClientError, OSError) as exc:
                raise KubeUnreachable(self.server, _cause(exc), self._kubeconfig) from exc
            else:
                return opened

    async def _request(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        body: Any = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> bytes:
        data = None if body is None else orjson.dumps(body)
        status, content = await self._send(method, path, params, data, content_type, accept)
        if self._forget_credential(status):
            # The plugin may have a newer credential than the one that the server refused.
            status, content = await self._send(method, path, params, data, content_type, accept)
            self._forget_credential(status)
        if status >= 300:
            raise error_of(status, content)
        return content

    async def _send(
        self,
        method: str,
        path: str,
        params: Params | None,
        data: bytes | None,
        content_type: str,
        accept: str,
    ) -> tuple[int, bytes]:
        await self._run_plugin()
        try:
            async with self._open(method, path, params, data, content_type, accept) as answer:
                return answer.status, await read_body(answer)
        except (aiohttp.ClientError, OSError) as exc:
            raise KubeUnreachable(self.server, _cause(exc), self._kubeconfig) from exc

    async def _run_plugin(self) -> None:
        """Get the credential of the kubeconfig's plugin for the next request."""
        if self.target.plugin is None:
            return
        found = await self.target.plugin.get()
        if found is not self._credential:
            self._credential = found
            if self.target.tls is not None:
                load_certificate(self.target.tls, found)

    def _forget_credential(self, status: int) -> bool:
        """Discard the credential of the plugin if the server refused it; return whether it did."""
        if status != _UNAUTHORIZED or self.target.plugin is None:
            return False
        self.target.plugin.forget()
        return True

    def _open(
        self,
        method: str,
        path: str,
        params: Params | None,
        data: bytes | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        timeout: aiohttp.ClientTimeout = _REQUEST_TIMEOUT,
    ) -> "aiohttp.client._RequestContextManager":
        session, how = self._prepare()
        headers = {"accept": accept, **how.pop("headers")}
        if data is not None:
            headers["content-type"] = content_type
        return session.request(
            method,
            self.target.server + path,
            params=params,
            data=data,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            **how,
        )

    def _prepare(self) -> tuple[aiohttp.ClientSession, dict[str, Any]]:
        """Return the session, and the credential, trust and proxy of the next request."""
        if self._session is None:
            # Only the CA of the kubeconfig is trusted, and only its proxy is used.
            connector = aiohttp.TCPConnector(limit=0, socket_factory=_socket)
            agent = {"user-agent": f"podpass/{__version__}"}
            self._session = aiohttp.ClientSession(
                connector=connector, headers=agent, trust_env=False
            )
        self._reload_ca()
        headers = self.target.headers()
        if self._credential is not None and self._credential.token is not None:
            headers["authorization"] = f"Bearer {self._credential.token.reveal()}"
        return self._session, {
            "headers": headers,
            # Of this request: after a reload, a new connection is opened.
            "ssl": self.target.tls or True,
            "server_hostname": self.target.server_name,
            "proxy": self.target.proxy.reveal() if self.target.proxy else None,
        }

    def _reload_ca(self) -> None:
        """Trust a new CA as soon as it is in the file."""
        changed = _changed(self.target.ca_file)
        if changed == self._trusted or self.target.tls is None:
            return
        self._trusted = changed
        with contextlib.suppress(OSError):  # the file is incomplete and will change again
            self.target.tls.load_verify_locations(cafile=self.target.ca_file)


def _changed(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_mtime_ns
    except OSError:
        return 0


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    for level, option, value in _KEEP_ALIVE:
        if hasattr(socket, option):  # not every operating system has all of them
            made.setsockopt(level, getattr(socket, option), value)
    return made


def _cause(exc: Exception) -> str:
    """Return the cause that the system or TLS reports; the text of an exception may contain secrets."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        why = getattr(exc.certificate_error, "verify_message", "") or "it is for another host name"
        return f"its certificate is not trusted: {why}"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "its host name does not resolve"
    if isinstance(exc, TimeoutError):
        return "it did not answer in time"
    number = getattr(exc, "errno", None) or 0
    return os.strerror(number) if number > 0 else type(exc).__name__
