"""The console of an instance: an address on loopback, one-time links, and the application on first use.

Templates and pages are imported with the first request, because most consoles are never opened.
"""

import importlib
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from podpass.clock import Clock
from podpass.console.access import LinkAccess
from podpass.http.server import Receive, Scope, Send
from podpass.lab.instance.context import LazyApp

if TYPE_CHECKING:
    from podpass.console.app import ConsoleApp
    from podpass.console.model import ConsoleSource

_BASE_BYTES = 12


class LocalConsole:
    """The ASGI application of the console. Use it as a context manager.

    `origin` is an http address: browsers treat loopback as secure, and they do not trust the CA of the
    instance. `create_source` returns the data and is called once.
    """

    def __init__(
        self,
        origin: str,
        create_source: "Callable[[AsyncExitStack], ConsoleSource]",
        clock: Clock,
    ) -> None:
        self.origin = origin
        self._base = f"/{secrets.token_urlsafe(_BASE_BYTES)}"
        self._access = LinkAccess(self._base, clock)
        self._create_source = create_source
        self._stack = AsyncExitStack()
        self._lazy = LazyApp(
            partial(importlib.import_module, "podpass.console.app"), self._create_app
        )

    async def __aenter__(self) -> "LocalConsole":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def create_link(self) -> str:
        """Return a new one-time link."""
        return self.origin + self._access.create_link()

    def drain(self) -> None:
        """End the event streams, so that the server can stop."""
        if self._lazy.app is not None:
            self._lazy.app.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._lazy(scope, receive, send)

    def _create_app(self) -> "ConsoleApp":
        from podpass.console.app import ConsoleApp

        port = self.origin.rpartition(":")[2]
        return ConsoleApp(
            self._create_source(self._stack),
            self._access,
            base=self._base,
            scheme="http",
            hosts=frozenset({f"127.0.0.1:{port}", f"localhost:{port}"}),
        )
