"""`pods/log`: finds the kubelet of a pod's node and passes its answer through."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from podpass.kubernetes import int64
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.read.listing import read
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import TEXT, Answer, Stream
from podpass.kubernetes.apiserver.status import (
    Cause,
    StatusError,
    Why,
    bad_request,
    internal,
    invalid_options,
    not_a_number,
)
from podpass.kubernetes.apiserver.storage.storage import Object, Store

if TYPE_CHECKING:
    import aiohttp

_PASSED = (
    *("follow", "previous", "sinceSeconds", "sinceTime", "timestamps"),
    *("tailLines", "limitBytes", "stream"),
)
_LEAST = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}
_ADDRESSES = ("InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS")
_MAX_MESSAGE = 1024


class Logs:
    """Reads logs of containers from kubelets; one session with all of them."""

    def __init__(self, store: Store, tls: ssl.SSLContext | None) -> None:
        self._store = store
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            # asyncio ends a TLS connection a turn of the loop after it was asked to.
            await asyncio.sleep(0)
            self._session = None

    async def open(self, request: Request) -> Answer | Stream:
        """Begin to read a log.

        Errors:  StatusError 400, 404, 422, 500, and what the kubelet answers.
        """
        pod = read(self._store, request)
        _check(request)
        container = _container(request, pod)
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            # Not on a node yet: there is nothing to read, and that is no error.
            return Answer(204, b"", "")
        url = (
            self._endpoint(node_name)
            + "/containerLogs/"
            + "/".join(quote(part, safe="") for part in (*request.place, container))
        )
        return await self._pass(request, url)

    def _endpoint(self, node_name: str) -> str:
        node = self._store.get(named("Node"), "", node_name)
        if node is None:
            message = f'nodes "{node_name}" not found'
            raise StatusError(404, "NotFound", message, name=node_name, kind="pods")
        status = node.get("status") or {}
        port = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint", {}).get("Port")
        found = {each["type"]: each["address"] for each in status.get("addresses") or ()}
        address = next((found[kind] for kind in _ADDRESSES if kind in found), None)
        if not address or not port:
            raise internal(f"node {node_name} names no address and port of a kubelet")
        return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"

    async def _pass(self, request: Request, url: str) -> Answer | Stream:
        import aiohttp

        if self._tls is None:
            raise internal("this cluster has no credentials for kubelets")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        params = {name: request.option(name) for name in _PASSED if request.option(name)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            answer = await self._session.get(
                url, params=params, ssl=self._tls, timeout=timeout, allow_redirects=False
            )
            if answer.status != 200:
                raise _refused(answer.status, await answer.content.read(_MAX_MESSAGE))
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise internal(f"Get {url!r}: {exc or type(exc).__name__}") from exc
        return Stream(200, _chunks(answer), TEXT)


async def _chunks(answer: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
    import aiohttp

    try:
        async for chunk in answer.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError):
        return  # the kubelet is gone; the client sees the end of the log
    finally:
        answer.close()


def _refused(status: int, body: bytes) -> StatusError:
    told = body.decode(errors="replace").strip()
    if status == 400:
        return bad_request(told)
    if status == 404:
        return StatusError(404, "NotFound", told, details=True)
    return internal(told or f"the kubelet answered {status}")


def _check(request: Request) -> None:
    causes = []
    for name, least in _LEAST.items():
        text = request.option(name)
        if not text:
            continue
        if (number := int64.read(text)) is None:
            raise not_a_number(name, text)
        if number < least:
            why = f"must be greater than or equal to {least}"
            causes.append(Cause(Why.INVALID, why, name))
    if causes:
        raise invalid_options("PodLogOptions", causes, group="", name=request.target.name)


def _container(request: Request, pod: Object) -> str:
    """Choose the container: the one named, or the only one there is."""
    spec, name = pod["spec"], request.target.name
    plain = [each["name"] for each in spec["containers"]]
    first = [each["name"] for each in spec.get("initContainers") or ()]
    debug = [each["name"] for each in spec.get("ephemeralContainers") or ()]
    wanted = request.option("container")
    if not wanted and len(plain) == 1:
        return str(plain[0])
    if not wanted:
        told = f"a container name must be specified for pod {name}, choose one of: {plain}"
        raise bad_request(told + (f" or one of the init containers: {first}" if first else ""))
    if wanted not in (*plain, *first, *debug):
        raise bad_request(f"container {wanted} is not valid for pod {name}")
    return wanted
