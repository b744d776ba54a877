"""The protocol through which the kubelet uses an API server, and its errors.

`kubeling.apiserver.local_api` implements it in the same process. An embedder implements it with an HTTP
client, so that the kubelet also serves a real API server.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from kubeling.errors import Error

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

Object = dict[str, Any]
Event = tuple[str, Object]


class ApiError(Error):
    """The API server refused a request; `status`, `reason` and `message` are those of its Status."""

    code = "kubernetes"

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message, kubernetes_status=status, reason=reason)
        self.status, self.reason = status, reason


class Api(Protocol):
    """The requests of one user to an API server; each path begins at the root of the server.

    A path also names a subresource: `status`, `binding` and `token` are patched or created like objects.
    Every method raises ApiError if the API server refuses, with status 503 if it does not respond.
    """

    server: str
    """The URL that pods use."""

    async def get(self, path: str) -> Object:
        """Read an object."""

    async def list(self, path: str) -> Sequence[Object]:
        """Read a whole collection."""

    async def create(self, path: str, body: Object) -> Object:
        """Create an object."""

    async def patch(self, path: str, body: Any, content_type: str = MERGE_PATCH) -> Object:
        """Patch an object."""

    async def delete(self, path: str, options: Object | None = None) -> Object:
        """Delete an object."""

    def watch(self, path: str, *, metadata_only: bool = False) -> AsyncIterator[Event]:
        """Watch a collection until cancelled; connect again after a failure of the connection.

        Yields every object as ADDED, then ("SYNCED", {}), then ADDED, MODIFIED and DELETED. After a gap, it
        yields all again, with DELETED (metadata only) for objects that no longer exist.
        """


class BackOff:
    """Exponential backoff from `first` to `last` seconds, with jitter of 50 % in both directions."""

    def __init__(self, first: float = 0.2, last: float = 30.0) -> None:
        self._first, self._last, self._next = first, last, first

    def reset(self) -> None:
        """Start again with the first delay."""
        self._next = self._first

    async def wait(self) -> None:
        """Wait, and double the next delay."""
        await asyncio.sleep(self._next * random.uniform(0.5, 1.5))  # noqa: S311 no secret
        self._next = min(self._next * 2, self._last)
