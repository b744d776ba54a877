"""A thin client of the Kubernetes API: requests, errors as it words them, and watches that heal.

What enters is a kubeconfig (or the account a pod was given); what leaves are plain JSON objects. It must
never follow a redirect, read a proxy from the environment, or show a credential.
"""

import asyncio
import base64
import binascii
import logging
import random
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
import yaml

from podpass import __version__, names
from podpass.errors import Error
from podpass.secret import Secret

_log = logging.getLogger(__name__)

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

Object = dict[str, Any]
Params = Mapping[str, str]

_PAGE = 500
_WATCH_SECONDS = 300
_FIRST_WAIT_SECONDS = 0.2
_LAST_WAIT_SECONDS = 30.0
_MAX_MESSAGE = 1024
_MAX_LINE_BYTES = 16 * 1024 * 1024
_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)
_UNSUPPORTED = ("exec", "auth-provider", "username", "proxy-url", "insecure-skip-tls-verify")


class KubeError(Error):
    """The API server refused a request; `status`, `reason` and `message` are those of its Status."""

    code = "kubernetes"

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message, kubernetes_status=status, reason=reason)
        self.status = status
        self.reason = reason


class KubeUnreachable(KubeError):
    """No answer came from the API server."""

    code = "kubernetes_unreachable"
    hint = "check that the API server runs and that the kubeconfig names its address"

    def __init__(self, server: str, cause: str) -> None:
        super().__init__(503, "Unreachable", f"no answer from {server}: {cause}")


class BadKubeconfig(Error):
    """A kubeconfig cannot be read, or asks for what this client does not do."""

    code = "bad_kubeconfig"
    hint = "name a server, its certificate authority, and a token or a client certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An API server and how to speak to it.

    Shapes:  `server` is an origin without trailing slash; `token_file` is read at each request, because
             the kubelet renews it in place.
    """

    server: str
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    server_name: str | None = None
    token: Secret | None = None
    token_file: Path | None = None

    def headers(self) -> dict[str, str]:
        token = self.token.reveal() if self.token else None
        if self.token_file is not None:
            try:
                token = self.token_file.read_text().strip()
            except OSError as exc:
                raise BadKubeconfig(
                    f"cannot read the token file {self.token_file}: {exc.strerror}"
                ) from exc
        return {"authorization": f"Bearer {token}"} if token else {}


def read_kubeconfig(path: Path) -> Target:
    """Read the current context of a kubeconfig.

    Shapes:  files are relative to the kubeconfig's folder; `*-data` wins over a file, as in client-go.
    Errors:  BadKubeconfig, naming the file and the entry.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as exc:
        raise BadKubeconfig(f"cannot read {path}", path=str(path)) from exc
    context = _named(config, "contexts", "context", _text(config, "current-context"), path)
    cluster = _named(config, "clusters", "cluster", _text(context, "cluster"), path)
    user = _named(config, "users", "user", _text(context, "user"), path)
    for entry in (cluster, user):
        for name in _UNSUPPORTED:
            if entry.get(name):
                raise BadKubeconfig(f"{path}: {name} is not supported", path=str(path), entry=name)
    server = _text(cluster, "server").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise BadKubeconfig(f"{path}: server {server!r} is not a URL", path=str(path))
    token_file = user.get("tokenFile")
    return Target(
        server=server,
        tls=_tls(cluster, user, path) if server.startswith("https:") else None,
        server_name=cluster.get("tls-server-name") or None,
        token=Secret(str(user["token"])) if user.get("token") else None,
        token_file=path.parent / token_file if token_file else None,
    )


def in_cluster(environ: Mapping[str, str]) -> Target:
    """Use the account that the kubelet gave to this pod.

    Errors:  BadKubeconfig outside a pod.
    """
    folder = Path(names.SERVICE_ACCOUNT_MOUNT_PATH)
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (folder / "ca.crt").exists():
        raise BadKubeconfig("not in a pod: no KUBERNETES_SERVICE_HOST or no account is mounted")
    host = f"[{host}]" if ":" in host else host
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    return Target(server=f"https://{host}:{port}", tls=tls, token_file=folder / "token")


def _text(entry: Any, name: str) -> str:
    value = entry.get(name) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else ""


def _named(config: Any, group: str, kind: str, name: str, path: Path) -> Object:
    entries = config.get(group) if isinstance(config, dict) else None
    for entry in entries or []:
        if isinstance(entry, dict) and entry.get("name") == name:
            return dict(entry.get(kind) or {})
    raise BadKubeconfig(f"{path}: no {kind} named {name!r}", path=str(path), entry=name)


def _tls(cluster: Object, user: Object, path: Path) -> ssl.SSLContext:
    try:
        ca = _pem(cluster, "certificate-authority", path)
        context = ssl.create_default_context(cadata=ca.decode() if ca else None)
        certificate = _pem(user, "client-certificate", path)
        key = _pem(user, "client-key", path)
        if certificate and key:
            # The ssl module only reads files; this one is 0600 and gone a moment later.
            with tempfile.NamedTemporaryFile() as both:
                both.write(certificate + b"\n" + key)
                both.flush()
                context.load_cert_chain(both.name)
    except (OSError, ValueError, ssl.SSLError) as exc:
        raise BadKubeconfig(f"{path}: a certificate or key cannot be read") from exc
    return context


def _pem(entry: Object, name: str, path: Path) -> bytes | None:
    if data := entry.get(f"{name}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as exc:
            raise BadKubeconfig(f"{path}: {name}-data is not base64", path=str(path)) from exc
    if file := entry.get(name):
        return (path.parent / file).read_bytes()
    return None


class BackOff:
    """Waits that double from `first` to `last` seconds, each spread by half either way."""

    def __init__(
        self, first: float = _FIRST_WAIT_SECONDS, last: float = _LAST_WAIT_SECONDS
    ) -> None:
        self._first, self._last, self._next = first, last, first

    def reset(self) -> None:
        self._next = self._first

    async def wait(self) -> None:
        # Spread, so that a fleet does not come back in one beat.
        await asyncio.sleep(self._next * random.uniform(0.5, 1.5))  # noqa: S311 no secret
        self._next = min(self._next * 2, self._last)


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
            # asyncio ends a TLS connection a turn of the loop after it was asked to.
            await asyncio.sleep(0)
            self._session = None

    async def get(self, path: str, params: Params | None = None) -> Object:
        """Read an object or a list; `path` starts at the server's root."""
        return await self._request("GET", path, params)

    async def create(self, path: str, body: Object, params: Params | None = None) -> Object:
        return await self._request("POST", path, params, body)

    async def replace(self, path: str, body: Object, params: Params | None = None) -> Object:
        return await self._request("PUT", path, params, body)

    async def patch(
        self, path: str, body: Any, content_type: str = MERGE_PATCH, params: Params | None = None
    ) -> Object:
        return await self._request("PATCH", path, params, body, content_type)

    async def delete(
        self, path: str, body: Object | None = None, params: Params | None = None
    ) -> Object:
        return await self._request("DELETE", path, params, body)

    async def watch(
        self, path: str, params: Params | None = None
    ) -> AsyncIterator[tuple[str, Object]]:
        """Follow a collection for ever, through restarts of the server and gaps in its history.

        Shapes:  first every object as ADDED, then ("SYNCED", {}), then ADDED, MODIFIED and DELETED. After a
                 gap the list comes again, with a DELETED (metadata only) for what vanished in it, and
                 another SYNCED.
        Errors:  none; failures are logged and tried again, with growing waits.
        """
        known: dict[str, str] = {}
        version = ""
        back_off = BackOff()
        while True:
            try:
                if not version:
                    items, listed = await self._list(path, params)
                    for event in _listed(items, known):
                        yield event
                    yield "SYNCED", {}
                    version = listed
                started, counted = time.monotonic(), 0
                async for kind, item in self._stream(path, params, version):
                    counted += 1
                    back_off.reset()
                    version = item.get("metadata", {}).get("resourceVersion") or version
                    if kind != "BOOKMARK":
                        _remember(kind, item, known)
                        yield kind, item
                if counted or time.monotonic() - started > 1:
                    continue
            except KubeError as exc:
                if exc.status == 410:
                    version = ""  # the history before this version is gone
                facts = {"path": path, "status": exc.status, "reason": exc.reason}
                _log.log(*_watch_failure(exc), extra=facts)
            await back_off.wait()

    async def _list(self, path: str, params: Params | None) -> tuple[list[Object], str]:
        items: list[Object] = []
        page: dict[str, str] = {**(params or {}), "limit": str(_PAGE)}
        while True:
            answer = await self._request("GET", path, page)
            items += answer.get("items") or []
            about = answer.get("metadata", {})
            if not about.get("continue"):
                return items, str(about.get("resourceVersion", ""))
            page["continue"] = about["continue"]

    async def _stream(
        self, path: str, params: Params | None, version: str
    ) -> AsyncIterator[tuple[str, Object]]:
        seconds = _WATCH_SECONDS + random.randrange(_WATCH_SECONDS)  # noqa: S311 no secret
        query = {
            **(params or {}),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        timeout = aiohttp.ClientTimeout(total=seconds + 30, sock_connect=10)
        try:
            async with self._open("GET", path, query, timeout=timeout) as answer:
                if answer.status >= 300:
                    raise _refusal(answer.status, await answer.read())
                async for line in _lines(answer.content):
                    event = orjson.loads(line)
                    kind, item = event.get("type", ""), event.get("object") or {}
                    if kind == "ERROR":
                        raise _refusal(int(item.get("code") or 500), line, item)
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
    ) -> Object:
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._open(method, path, params, data, content_type) as answer:
                content = await answer.read()
                if answer.status >= 300:
                    raise _refusal(answer.status, content)
        except (aiohttp.ClientError, OSError) as exc:
            raise KubeUnreachable(self.server, type(exc).__name__) from exc
        return _object(content)

    def _open(
        self,
        method: str,
        path: str,
        params: Params | None,
        data: bytes | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout = _REQUEST_TIMEOUT,
    ) -> aiohttp.client._RequestContextManager:
        if self._session is None:
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


def _refusal(status: int, content: bytes, body: Object | None = None) -> KubeError:
    """Word a refusal as the Status in it does; a body of another kind is left out."""
    if body is None:
        try:
            body = orjson.loads(content)
        except ValueError:
            body = None
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


def _key(item: Object) -> str:
    about = item.get("metadata", {})
    return f"{about.get('namespace', '')}/{about.get('name', '')}"


def _listed(items: list[Object], known: dict[str, str]) -> list[tuple[str, Object]]:
    """Turn a list into events, those included that a gap has swallowed."""
    events: list[tuple[str, Object]] = []
    found = {_key(item): str(item.get("metadata", {}).get("uid", "")) for item in items}
    for key, uid in known.items():
        if found.get(key) != uid:
            namespace, _, name = key.partition("/")
            gone = {"name": name, "uid": uid, **({"namespace": namespace} if namespace else {})}
            events.append(("DELETED", {"metadata": gone}))
    known.clear()
    known.update(found)
    return events + [("ADDED", item) for item in items]


def _remember(kind: str, item: Object, known: dict[str, str]) -> None:
    if kind == "DELETED":
        known.pop(_key(item), None)
    else:
        known[_key(item)] = str(item.get("metadata", {}).get("uid", ""))


def _watch_failure(exc: KubeError) -> tuple[int, str]:
    """An expired version is ordinary; anything else may need a person."""
    if exc.status == 410:
        return logging.DEBUG, "watch_expired"
    return logging.WARNING, "watch_failed"
