"""The clients behind the gateway's connections to the services of this process.

The gateway relays TLS unchanged, so a service sees only the gateway's own address. Gateway and services are
one process: the gateway records the client of each of its connections, and the services look it up.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from podpass.http.server import App, FastPathHandler, Receive, Reply, Scope, Send
from podpass.lab.gateway.pod_targets import Address


class TunnelSources:
    """The clients of the tunnels, by the two addresses of the connection to the service."""

    def __init__(self) -> None:
        self._sources: dict[tuple[Address, Address], Address] = {}

    @contextmanager
    def record(self, service: asyncio.StreamWriter, source: Address) -> Iterator[None]:
        """Record the client of a connection to a service until the context ends."""
        own = service.get_extra_info("sockname")[:2]
        key = own, service.get_extra_info("peername")[:2]
        self._sources[key] = source
        try:
            yield
        finally:
            del self._sources[key]

    def set_client(self, scope: Scope) -> None:
        """Replace the gateway's address in the scope of a request with the client's address."""
        if (found := self._sources.get((scope["client"], scope["server"]))) is not None:
            scope["client"] = found

    def wrap(self, app: App) -> App:
        """Return an application that sees the clients of the tunnels, for a service behind the gateway."""
        return _SourceApp(self, app)


class _SourceApp:
    """An application behind the gateway."""

    def __init__(self, sources: TunnelSources, app: App) -> None:
        self._sources, self._app = sources, app
        handler: FastPathHandler | None = getattr(app, "fast_path", None)
        self.fast_path = None if handler is None else self._wrap_fast_path(handler)

    def _wrap_fast_path(self, handler: FastPathHandler) -> FastPathHandler:
        def handle(scope: Scope, body: bytes) -> Coroutine[Any, Any, Reply] | None:
            self._sources.set_client(scope)
            return handler(scope, body)

        return handle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._sources.set_client(scope)
        await self._app(scope, receive, send)
