"""One session with one API server: requests, their refusals, and the raw material of watches."""

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from podpass import __version__
from podpass.kubernetes.client import reflector
from podpass.kubernetes.client.config import Target, read_kubeconfig
from podpass.kubernetes.client.errors import KubeError, KubeUnreachable

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Object = dict[str, Any]
Params = Mapping[str, str]
Page = tuple[list[Object], str]

# The form of an object that holds its metadata alone; a server that has no such form sends it whole.
_JSON = "application/json"
_METADATA = _JSON + ";as=PartialObjectMetadata;g=meta.k8s.io;v=v1," + _JSON
_METADATA_LIST = _JSON + ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1," + _JSON
_PAGE = 250
_MAX_MESSAGE = 1024
_MAX_LINE_BYTES = 16 * 1024 * 1024
_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)
# A watch may be silent for minutes: without these, so would be a server that has vanished.
_KEEP_ALIVE = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
)


class KubeClient:
    """One session with one API server; close it, or use it as a context."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._session: aiohttp.ClientSession | None = None
        self._trusted = _changed(target.ca_file)

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Self:
        """Speak to the current context's API server.

        Errors:  BadKubeconfig.
        """
        return cls(read_kubeconfig(path))

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
        return _object(await self._request("GET", path, params, accept=accept))

    async def text(self, path: str, params: Params | None = None) -> str:
        """Read what is no object: a pod's log, a health page."""
        return (await self._request("GET", path, params)).decode("utf-8", "replace")

    async def create(self, path: str, body: Object, params: Params | None = None) -> Object:
        return _object(await self._request("POST", path, params, body))

    async def replace(self, path: str, body: Object, params: Params | None = None) -> Object:
        return _object(await self._request("PUT", path, params, body))

    async def patch(
        self, path: str, body: Any, content_type: str = MERGE_PATCH, params: Params | None = None
    ) -> Object:
        return _object(await self._request("PATCH", path, params, body, content_type))

    async def delete(
        self, path: str, body: Object | None = None, params: Params | None = None
    ) -> Object:
        return _object(await self._request("DELETE", path, params, body))

    def watch(
        self,
        path: str,
        params: Params | None = None,
        *,
        metadata_only: bool = False,
        failed: Callable[[KubeError], None] = reflector.unheard,
    ) -> AsyncIterator[tuple[str, Object]]:
        """Follow a collection for ever, through restarts of the server and gaps in its history.

        Shapes:  first every object as ADDED, then ("SYNCED", {}), then ADDED, MODIFIED and DELETED. After a
                 gap the list comes again, with a DELETED (metadata only) for what vanished in it, and
                 another SYNCED. With `metadata_only` no more than an object's metadata is asked for.
        Errors:  none; failures are logged, told to `failed`, and tried again, with growing waits.
        """
        return reflector.watch(self, path, params, metadata_only=metadata_only, failed=failed)

    async def list(self, path: str, params: Params | None = None) -> Page:
        """Read a whole collection, page by page; give it and its version."""
        found: list[Object] = []
        version = ""
        async for items, of_all in self.pages(path, params):
            found += items
            version = of_all
        return found, version

    async def pages(
        self, path: str, params: Params | None = None, *, metadata_only: bool = False
    ) -> AsyncIterator[Page]:
        """Read a collection, a page at a time, each with the collection's version.

        Shapes:  at most 250 objects a page, so that none of them keeps the event loop for long.
        """
        accept = _METADATA_LIST if metadata_only else _JSON
        page: dict[str, str] = {**(params or {}), "limit": str(_PAGE)}
        while True:
            answer = _object(await self._request("GET", path, page, accept=accept))
            about = answer.get("metadata", {})
            yield answer.get("items") or [], str(about.get("resourceVersion", ""))
            if not about.get("continue"):
                return
            page["continue"] = about["continue"]

    async def stream(
        self, path: str, params: Params, seconds: float, *, metadata_only: bool = False
    ) -> AsyncIterator[tuple[str, Object]]:
        """Read one watch request's events until it ends, or `seconds` have passed.

        Errors:  KubeError, also for an event of type ERROR.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10)
        accept = _METADATA if metadata_only else _JSON
        try:
            async with self._open("GET", path, params, accept=accept, timeout=timeout) as answer:
                if answer.status >= 300:
                    raise _refusal(answer.status, await answer.read())
                async for line in _lines(answer.content):
                    event = orjson.loads(line)
                    kind, item = event.get("type", ""), event.get("object") or {}
                    if kind == "ERROR":
                        raise _status_error(int(item.get("code") or 500), item)
                    yield kind, item
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise KubeUnreachable(self.server, _cause(exc)) from exc

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
        try:
            async with self._open(method, path, params, data, content_type, accept) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError) as exc:
            raise KubeUnreachable(self.server, _cause(exc)) from exc
        if answer.status >= 300:
            raise _refusal(answer.status, content)
        return content

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
        if self._session is None:
            # Only the kubeconfig's authority is trusted, and no proxy variable is looked at.
            connector = aiohttp.TCPConnector(
                ssl=self.target.tls or True, limit=0, socket_factory=_socket
            )
            agent = {"user-agent": f"podpass/{__version__}"}
            self._session = aiohttp.ClientSession(
                connector=connector, headers=agent, trust_env=False
            )
        self._trust_anew()
        headers = {"accept": accept, **self.target.headers()}
        if data is not None:
            headers["content-type"] = content_type
        return self._session.request(
            method,
            self.target.server + path,
            params=params,
            data=data,
            headers=headers,
            timeout=timeout,
            allow_redirects=False,
            server_hostname=self.target.server_name,
        )

    def _trust_anew(self) -> None:
        """Trust the authority's successor too, as soon as the file holds it."""
        changed = _changed(self.target.ca_file)
        if changed == self._trusted or self.target.tls is None:
            return
        self._trusted = changed
        with contextlib.suppress(OSError):  # half written: it will change once more
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
        if hasattr(socket, option):  # not every system names them all
            made.setsockopt(level, getattr(socket, option), value)
    return made


def _cause(exc: Exception) -> str:
    """Say why no answer came, in the system's or TLS's own words; never an exception's, which may quote."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        why = getattr(exc.certificate_error, "verify_message", "") or "of another name"
        return f"its certificate is not trusted: {why}"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    number = getattr(exc, "errno", None) or 0
    return os.strerror(number) if number > 0 else type(exc).__name__


def _object(content: bytes) -> Object:
    try:
        value = orjson.loads(content)
    except ValueError as exc:
        raise KubeError(502, "BadAnswer", "the API server's answer is not JSON") from exc
    if not isinstance(value, dict):
        raise KubeError(502, "BadAnswer", "the API server's answer is not an object")
    return value


def _refusal(status: int, content: bytes) -> KubeError:
    """Word a refusal as the Status in it does; a body of another kind is left out."""
    try:
        body = orjson.loads(content)
    except ValueError:
        body = None
    return _status_error(status, body)


def _status_error(status: int, body: Any) -> KubeError:
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return KubeError(status, "Unknown", f"the API server answered {status}")
    message = str(body.get("message") or f"the API server answered {status}")[:_MAX_MESSAGE]
    return KubeError(status, str(body.get("reason") or "Unknown"), message)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    # StreamReader.readline stops at 64 KiB; a ConfigMap alone may have a megabyte.
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
        if len(rest) > _MAX_LINE_BYTES:
            raise ValueError("a watch event is too long")
