"""The console of an authority, on its admin address below `/console`: for administrators, and read-only.

It shows the directory, and the exchanges of this replica: each worker sends a copy of its hops to the admin
process, which stores the last ones while it runs.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from podpass.clock import Clock
from podpass.console.model import Listing, TrustGraphView
from podpass.console.timeline import Timeline
from podpass.diagnose.trace.hop import parse_hop
from podpass.http.server import App, Receive, Scope, Send
from podpass.servers.authority.resources import AuthorityResources, Settings

if TYPE_CHECKING:
    from podpass.console.app import ConsoleApp
    from podpass.console.fixes import KnownObjects

BASE = "/console"
_MAX_HOP_BYTES = 64 * 1024
# The event loop runs other tasks after this many hops.
_HOPS_PER_STEP = 200


class AuthorityConsole:
    """Serves the console below its path, and other paths by another application."""

    def __init__(
        self,
        settings: Settings,
        opened: AuthorityResources,
        hops: socket.socket,
        clock: Clock,
        *,
        otherwise: App,
    ) -> None:
        self._settings, self._opened, self._hops = settings, opened, hops
        self._clock = clock
        self._otherwise = otherwise
        self._app: ConsoleApp | None = None
        self._timeline = Timeline()
        # From the start, so that the first page shows what has happened before.
        asyncio.get_running_loop().add_reader(hops, self._read_hops)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == BASE or path.startswith(f"{BASE}/"):
            app = self._app or self._create()
            await app({**scope, "path": path if path != BASE else f"{BASE}/"}, receive, send)
        else:
            await self._otherwise(scope, receive, send)

    def close(self) -> None:
        """End the event streams, so that the server can stop."""
        asyncio.get_running_loop().remove_reader(self._hops)
        if self._app is not None:
            self._app.close()

    def _read_hops(self) -> None:
        """Read some hops; the event loop calls it again while there are more."""
        for _ in range(_HOPS_PER_STEP):
            try:
                line = self._hops.recv(_MAX_HOP_BYTES)
            except BlockingIOError:
                return
            if (hop := parse_hop(line)) is not None:
                self._timeline.add(hop)

    def _create(self) -> "ConsoleApp":
        """Create the application with the first request, because most administrators use other clients."""
        from podpass.console.app import ConsoleApp
        from podpass.console.password_access import PasswordAccess

        self._app = ConsoleApp(
            AuthoritySource(self._settings, self._opened, self._timeline),
            PasswordAccess(
                BASE, TenantSessions(self._settings, self._opened, self._clock), self._clock
            ),
            base=BASE,
            scheme="https",
            hosts=frozenset({urlsplit(self._settings.process.admin_origin).netloc}),
        )
        return self._app


class TenantSessions:
    """The sessions of the administrators of the configured tenant."""

    def __init__(self, settings: Settings, opened: AuthorityResources, clock: Clock) -> None:
        from podpass.exchange.sign_in.console_sessions import ConsoleSessions
        from podpass.exchange.sign_in.users import UserAuthenticator

        self._directory, self._tenant_id = opened.directory, settings.process.tenant_id
        self._sessions = ConsoleSessions(
            UserAuthenticator(opened.directory, opened.database, clock),
            opened.database,
            opened.keys.token_sealer,
            settings.exchange.administrators,
            clock,
        )
        self.is_valid, self.end = self._sessions.is_valid, self._sessions.end

    async def open(self, name: str, password: str) -> str | None:
        """Return a session for the user name and the password of an administrator, or None.

        Raises AadstsError 50034, 50053, 50126; DatabaseFailed.
        """
        tenant = await self._directory.find_tenant(self._tenant_id)
        return None if tenant is None else await self._sessions.open(tenant, name, password)


class AuthoritySource:
    """The console's data of an authority, which cannot read pods or ServiceAccounts."""

    views: Sequence[str] = ("loop", "exchanges", "refusals", "identities", "graph", "audit")
    commands: Mapping[str, str] = {}

    def __init__(self, settings: Settings, opened: AuthorityResources, timeline: Timeline) -> None:
        from podpass.console.directory_view import DirectoryView

        self.title = settings.process.admin_origin
        self.timeline = timeline
        self._tenant_id = settings.process.tenant_id
        self._origins = settings.exchange.origins
        self._directory = opened.directory
        self._view = DirectoryView(opened.directory, self._tenant_id)

    async def refresh(self) -> None:
        """Do nothing: hops are added as they arrive."""

    async def revision(self, view: str) -> object:
        """Return the number of the directory's last change."""
        del view
        return await self._view.revision()

    async def pods(self) -> Listing:
        """Return an empty list: an authority cannot read pods."""
        return Listing(rows=())

    async def identities(self) -> Listing:
        """List one page of identities with their credentials and roles."""
        return await self._view.identities()

    async def known_objects(self) -> "KnownObjects":
        """Return identities by client ID and vaults by name."""
        return await self._view.known_objects()

    async def audit(self) -> Listing:
        """List the last changes, the newest first."""
        return await self._view.audit()

    async def graph(self) -> TrustGraphView:
        """Return the trust graph of the directory, without the accounts of clusters.

        Raises DatabaseFailed, GraphTooLarge.
        """
        from podpass.console import graph_view
        from podpass.diagnose.graph.directory_snapshot import read_directory
        from podpass.diagnose.graph.model import ClusterAccounts, TrustFacts

        directory = await read_directory(
            self._directory, self._tenant_id, origins=tuple(self._origins)
        )
        return graph_view.describe(TrustFacts(cluster=ClusterAccounts(), directory=directory))
