"""The `pods/log` subresource: proxies the log of a container from the kubelet of the pod's node."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING
from urllib.parse import quote

from podpass.kubernetes import int64
from podpass.kubernetes.apiserver.read.listing import get_object
from podpass.kubernetes.apiserver.registry import kubelets
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import TEXT, Response, StreamResponse
from podpass.kubernetes.apiserver.status import (
    Cause,
    CauseType,
    internal,
    invalid_options,
    not_a_number,
)
from podpass.kubernetes.apiserver.storage.storage import ObjectStore

if TYPE_CHECKING:
    import aiohttp

_PARAMETERS = (
    *("follow", "previous", "sinceSeconds", "sinceTime", "timestamps"),
    *("tailLines", "limitBytes", "stream"),
)
_MINIMUMS = {"tailLines": 0, "limitBytes": 1, "sinceSeconds": 1}


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
        container = kubelets.choose_container(request, pod)
        node_name = pod["spec"].get("nodeName")
        if not node_name:
            # The pod has no node yet: the log is empty, which is not an error.
            return Response(204, b"", "")
        url = (
            kubelets.find_endpoint(self._store, node_name)
            + "/containerLogs/"
            + "/".join(quote(part, safe="") for part in (*request.namespaced_name, container))
        )
        return await self._proxy(request, url)

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
                raise kubelets.to_status_error(
                    kubelet_response.status,
                    await kubelet_response.content.read(kubelets.MAX_MESSAGE_BYTES),
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
