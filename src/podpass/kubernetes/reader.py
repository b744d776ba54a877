"""Read the objects of a cluster with the rights of the caller; nothing is changed.

What does not exist is None, and what the caller may not read is Unread. The only request that does not read
is the dry run of a pod, which calls the webhooks and stores nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from podpass.facts import Unread
from podpass.kubernetes.client import KubeClient, KubeError, KubeUnreachable
from podpass.kubernetes.objects import MaybeObject, Object, Preview
from podpass.kubernetes.paths import DISCOVERY_PATH, path_of
from podpass.kubernetes.service_account.names import JWKS_PATH

T = TypeVar("T")
_JWKS_TYPE = "application/jwk-set+json"
_FORBIDDEN, _NOT_FOUND = 403, 404
_BY_ADMISSION = ("admission webhook", "failed calling webhook", "ValidatingAdmissionPolicy")
_MAX_REASON = 500


class ObjectReader:
    """Reads one cluster; each object is read once, whatever the number of its readers.

    All methods raise KubeUnreachable.
    """

    def __init__(self, client: KubeClient) -> None:
        self.client = client
        self._shared: dict[str, asyncio.Task[Any]] = {}

    async def find(self, kind: str, name: str, namespace: str = "") -> MaybeObject:
        """Return an object."""
        path = path_of(kind, name, namespace=namespace)
        return await self._read_once(path, lambda: _read(self.client.get(path)))

    async def exists(self, kind: str, name: str, namespace: str = "") -> bool | Unread:
        """Return whether an object exists; no content of it is read."""
        path = path_of(kind, name, namespace=namespace)
        found = await _read(self.client.get(path, metadata_only=True))
        return found if isinstance(found, Unread) else found is not None

    async def list(
        self, kind: str, namespace: str = "", selector: str = ""
    ) -> Sequence[Object] | Unread:
        """Return the objects of a kind; none if the API server does not know the kind."""
        path = path_of(kind, namespace=namespace)
        params = {"labelSelector": selector} if selector else None
        found = await self._read_once(
            f"{path}?{selector}", lambda: _read(self.client.list(path, params))
        )
        return found if isinstance(found, Unread) else (found or ((),))[0]

    async def discovery(self) -> Object | Unread:
        """Return the discovery document of the API server."""
        found = await self._read_once(
            DISCOVERY_PATH, lambda: _read(self.client.get(DISCOVERY_PATH))
        )
        return found or Unread("the API server publishes no discovery document")

    async def jwks(self) -> Object | Unread:
        """Return the keys of the API server."""
        found = await self._read_once(
            JWKS_PATH, lambda: _read(self.client.text(JWKS_PATH, accept=_JWKS_TYPE))
        )
        if isinstance(found, Unread):
            return found
        return orjson.loads(found) if found else Unread("the API server publishes no keys")

    async def read_log(self, namespace: str, pod: str, query: Mapping[str, str]) -> str | Unread:
        """Return the log of a container."""
        path = path_of("Pod", pod, namespace=namespace, part="log")
        found = await _read(self.client.text(path, query))
        return Unread("it does not exist") if found is None else found

    async def preview(self, namespace: str, pod: Object) -> Preview | Unread:
        """Create a pod as a dry run."""
        try:
            path = path_of("Pod", namespace=namespace)
            return Preview(pod=await self.client.create(path, pod, {"dryRun": "All"}))
        except KubeUnreachable:
            raise
        except KubeError as exc:
            # Without the right to create pods, the message may quote anything after its beginning.
            is_refusal = (
                exc.message.startswith(_BY_ADMISSION)
                if exc.status == _FORBIDDEN
                else any(each in exc.message for each in _BY_ADMISSION)
            )
            if is_refusal:
                return Preview(refusal=first_line(exc.message))
            return Unread(f"no dry run of the pod: {first_line(exc.message)}")

    async def _read_once(self, key: str, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if key not in self._shared:
            self._shared[key] = asyncio.ensure_future(read())
        found: T = await asyncio.shield(self._shared[key])
        return found


async def _read(reading: Coroutine[Any, Any, T]) -> T | Unread | None:
    try:
        return await reading
    except KubeUnreachable:
        raise
    except KubeError as exc:
        return None if exc.status == _NOT_FOUND else Unread(first_line(exc.message))


def first_line(text: str) -> str:
    """Return the first line of a message of the API server."""
    lines = text.strip().splitlines()
    return lines[0][:_MAX_REASON] if lines else "no reason was given"
