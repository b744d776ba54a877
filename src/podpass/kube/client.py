"""One session with one API server: requests, their refusals, and the raw material of watches."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson

from podpass import __version__
from podpass.kube import watching
from podpass.kube.errors import KubeError, KubeUnreachable
from podpass.kube.target import Target, read_kubeconfig

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Object = dict[str, Any]
Params = Mapping[str, str]

_PAGE = 500
_MAX_MESSAGE = 1024
_MAX_LINE_BYTES = 16 * 1024 * 1024
_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)


class KubeClient:
    """One session with one API server; close it, or use it as a context."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._session: aiohttp.ClientSession | None = None

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

    async def get(self, path: str, params: Params | None = None) -> Object:
        """Read an object or a list; `path` starts at the server's root."""
        return _object(await self._request("GET", path, params))

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

    def watch(self, path: str, params: Params | None = None) -> AsyncIterator[tuple[str, Object]]:
        """Follow a collection for ever, through restarts of the server and gaps in its history.

        Shapes:  first every object as ADDED, then ("SYNCED", {}), then ADDED, MODIFIED and DELETED. After a
                 gap the list comes again, with a DELETED (metadata only) for what vanished in it, and
                 another SYNCED.
        Errors:  none; failures are logged and tried again, with growing waits.
        """
        return watching.watch(self, path, params)

    async def list(self, path: str, params: Params | None = None) -> tuple[list[Object], str]:
        """Read a whole collection, page by page; give it and its version."""
        items: list[Object] = []
        page: dict[str, str] = {**(params or {}), "limit": str(_PAGE)}
        while True:
            answer = await self.get(path, page)
            items += answer.get("items") or []
            about = answer.get("metadata", {})
            if not about.get("continue"):
                return items, str(about.get("resourceVersion", ""))
            page["continue"] = about["continue"]

    async def stream(
        self, path: str, params: Params, seconds: float
    ) -> AsyncIterator[tuple[str, Object]]:
        """Read one watch request's events until it ends, or `seconds` have passed.

        Errors:  KubeError, also for an event of type ERROR.
        """
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=10)
        try:
            async with self._open("GET", path, params, timeout=timeout) as answer:
                if answer.status >= 300:
                    raise _refusal(answer.status, await answer.read())
                async for line in _lines(answer.content):
                    event = orjson.loads(line)
                    kind, item = event.get("type", ""), event.get("object") or {}
                    if kind == "ERROR":
                        raise _status_error(int(item.get("code") or 500), item)
                    yield kind, item
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise KubeUnreachable(self.server, type(exc).__name__) from exc

    async def _request(
        self,
        method: str,
        path: str,
        params: Params | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._open(method, path, params, data, content_type) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError) as exc:
            raise KubeUnreachable(self.server, type(exc).__name__) from exc
        if answer.status >= 300:
            raise _refusal(answer.status, content)
        return content

    def _open(
        self,
        method: str,
        path: str,
        params: Params | None,
        data: bytes | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout = _REQUEST_TIMEOUT,
    ) -> "aiohttp.client._RequestContextManager":
        if self._session is None:
            # Only the kubeconfig's authority is trusted, and no proxy variable is looked at.
            connector = aiohttp.TCPConnector(ssl=self.target.tls or True, limit=0)
            agent = {"user-agent": f"podpass/{__version__}", "accept": "application/json"}
            self._session = aiohttp.ClientSession(
                connector=connector, headers=agent, trust_env=False
            )
        headers = self.target.headers()
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
