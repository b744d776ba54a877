"""The `pods/log` subresource: proxies the log of a container from the kubelet of the pod's node."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from podpass.kubernetes import int64
from podpass.kubernetes.apiserver.kinds import kind_by_name
from podpass.kubernetes.apiserver.read.listing import get_object
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import TEXT, Response, StreamResponse
from podpass.kubernetes.apiserver.status import (
    Cause,
    CauseType,
    StatusError,
    bad_request,
    internal,
    invalid_options,
    not_a_number,
)
from podpass.kubernetes.apiserver.storage.storage import Object, ObjectStore

if TYPE_CHECKING:
    import aiohttp

_PARAMETERS = (
    *("follow", "previous", "sinceSeconds", "sinceTime", "timestamps"),
    *("tailLines", "limitBytes", "stream"),
)
_MINIMUMS = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}
_ADDRESSES = ("InternalIP", "ExternalIP", "Hostname", "InternalDNS", "ExternalDNS")
_MAX_MESSAGE_BYTES = 1024


class PodLogHandler:
    """Reads container logs from kubelets, with one HTTP session for all of them."""

    def __init__(self, store: ObjectStore, tls: ssl.SSLContext | None) -> None:
        self._store = store
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the HTTP session."""
        if self._session is not None:
            await self._session.close()
            # asyncio closes a TLS connection one event-loop iteration later.
            await asyncio.sleep(0)
            self._session = None

    async def open(self, request: Request) -> Response | StreamResponse:
        """Start to stream a log.

        Errors:  StatusError 400, 404, 422, 500.
        """
        pod = get_object(self._store, request)
        _check_parameters(request)
        container = _container(request, pod)
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            # The pod has no node yet: the log is empty, which is not an error.
            return Response(204, b"", "")
        url = (
            self._endpoint(node_name)
            + "/containerLogs/"
            + "/".join(quote(part, safe="") for part in (*request.namespaced_name, container))
        )
        return await self._proxy(request, url)

    def _endpoint(self, node_name: str) -> str:
        node = self._store.get(kind_by_name("Node"), "", node_name)
        if node is None:
            message = f'nodes "{node_name}" not found'
            raise StatusError(404, "NotFound", message, name=node_name, kind="pods")
        status = node.get("status") or {}
        port = (status.get("daemonEndpoints") or {}).get("kubeletEndpoint", {}).get("Port")
        found = {each["type"]: each["address"] for each in status.get("addresses") or ()}
        address = next((found[kind] for kind in _ADDRESSES if kind in found), None)
        if not address or not port:
            raise internal(f"node {node_name} reports no kubelet address and port")
        return f"https://[{address}]:{port}" if ":" in address else f"https://{address}:{port}"

    async def _proxy(self, request: Request, url: str) -> Response | StreamResponse:
        import aiohttp

        if self._tls is None:
            raise internal("this cluster has no credentials for kubelets")
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False)
        params = {name: request.option(name) for name in _PARAMETERS if request.option(name)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        try:
            kubelet_response = await self._session.get(
                url, params=params, ssl=self._tls, timeout=timeout, allow_redirects=False
            )
            if kubelet_response.status != 200:
                raise _kubelet_error(
                    kubelet_response.status, await kubelet_response.content.read(_MAX_MESSAGE_BYTES)
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise internal(f"Get {url!r}: {exc or type(exc).__name__}") from exc
        return StreamResponse(200, _chunks(kubelet_response), TEXT)


async def _chunks(kubelet_response: "aiohttp.ClientResponse") -> AsyncIterator[bytes]:
    import aiohttp

    try:
        async for chunk in kubelet_response.content.iter_any():
            yield chunk
    except (aiohttp.ClientError, OSError):
        return  # the kubelet closed the connection; the client receives the end of the log
    finally:
        kubelet_response.close()


def _kubelet_error(status: int, body: bytes) -> StatusError:
    message = body.decode(errors="replace").strip()
    if status == 400:
        return bad_request(message)
    if status == 404:
        return StatusError(404, "NotFound", message, details=True)
    return internal(message or f"the kubelet returned status {status}")


def _check_parameters(request: Request) -> None:
    causes = []
    for name, minimum in _MINIMUMS.items():
        text = request.option(name)
        if not text:
            continue
        if (number := int64.parse(text)) is None:
            raise not_a_number(name, text)
        if number < minimum:
            reason = f"must be greater than or equal to {minimum}"
            causes.append(Cause(CauseType.INVALID, reason, name))
    if causes:
        raise invalid_options("PodLogOptions", causes, group="", name=request.info.name)


def _container(request: Request, pod: Object) -> str:
    """Return the container of a request: the named container, or the pod's only container."""
    spec, name = pod["spec"], request.info.name
    containers = [each["name"] for each in spec["containers"]]
    init_containers = [each["name"] for each in spec.get("initContainers") or ()]
    ephemeral_containers = [each["name"] for each in spec.get("ephemeralContainers") or ()]
    container = request.option("container")
    if not container and len(containers) == 1:
        return str(containers[0])
    if not container:
        message = f"a container name must be specified for pod {name}, choose one of: {containers}"
        raise bad_request(
            message
            + (f" or one of the init containers: {init_containers}" if init_containers else "")
        )
    if container not in (*containers, *init_containers, *ephemeral_containers):
        raise bad_request(f"container {container} is not valid for pod {name}")
    return container
