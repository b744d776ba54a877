"""A console with given data on a loopback port, and a client that sends requests as they are."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from podpass.clock import Clock, system
from podpass.console.access import LinkAccess
from podpass.console.app import ConsoleApp
from podpass.console.fixes import KnownObjects
from podpass.console.model import VIEWS, Listing, TrustGraphView
from podpass.console.timeline import Timeline
from podpass.errors import Error
from podpass.http.server import bind, serving

BASE = "/base-of-the-test"


@dataclass
class GivenSource:
    """Data that a test sets; `pending` are hops that the next `refresh` adds."""

    title: str = "given"
    views: Sequence[str] = VIEWS
    commands: Mapping[str, str] = field(default_factory=lambda: {"graph": "podpass graph"})
    timeline: Timeline = field(default_factory=Timeline)
    pending: list[Any] = field(default_factory=list)
    listings: dict[str, Listing] = field(default_factory=dict)
    known: KnownObjects = field(default_factory=KnownObjects)
    trust: TrustGraphView | None = None
    failure: Error | None = None
    revisions: dict[str, object] = field(default_factory=dict)

    async def refresh(self) -> None:
        while self.pending:
            self.timeline.add(self.pending.pop(0))

    async def revision(self, view: str) -> object:
        return self.revisions.get(view, self._listing(view))

    async def pods(self) -> Listing:
        return self._listing("pods")

    async def identities(self) -> Listing:
        return self._listing("identities")

    async def audit(self) -> Listing:
        return self._listing("audit")

    async def known_objects(self) -> KnownObjects:
        return self.known

    async def graph(self) -> TrustGraphView | None:
        return self.trust

    def _listing(self, name: str) -> Listing:
        if self.failure is not None:
            raise self.failure
        return self.listings.get(name, Listing(rows=()))


@dataclass
class Answer:
    """A complete response."""

    status: int
    text: str
    headers: Mapping[str, str]
    cookies: list[str]


@dataclass
class RunningConsole:
    """A served console."""

    source: GivenSource
    app: ConsoleApp
    access: LinkAccess
    port: int
    session: aiohttp.ClientSession
    cookie: str = ""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **how: Any
    ) -> Answer:
        """Send a request with only these headers, and without a cookie."""
        async with self.session.request(
            method, self.origin + path, headers=headers, allow_redirects=False, **how
        ) as answer:
            cookies = answer.headers.getall("set-cookie", [])
            return Answer(answer.status, await answer.text(), answer.headers, cookies)

    async def get(self, path: str, **headers: str) -> Answer:
        """Read a page below the base as a signed-in browser does."""
        return await self.send("GET", BASE + path, {"Cookie": self.cookie, **headers})

    async def post(self, path: str, data: Any = None, **headers: str) -> Answer:
        """Send a form as a page of the console does."""
        own = {"Cookie": self.cookie, "Origin": self.origin}
        return await self.send("POST", BASE + path, {**own, **headers}, data=data)

    async def sign_in(self) -> None:
        """Redeem a link."""
        answer = await self.send("GET", self.access.create_link())
        assert answer.status == 200
        self.cookie = answer.cookies[0].partition(";")[0]


@contextlib.asynccontextmanager
async def running_console(
    source: GivenSource | None = None, clock: Clock = system
) -> AsyncIterator[RunningConsole]:
    """Serve a console, and sign in."""
    source = source or GivenSource()
    access = LinkAccess(BASE, clock)
    sock = bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
    app = ConsoleApp(source, access, base=BASE, scheme="http", hosts=hosts)
    jar = aiohttp.DummyCookieJar()
    async with serving(app, sock), aiohttp.ClientSession(cookie_jar=jar) as session:
        console = RunningConsole(source, app, access, port, session)
        await console.sign_in()
        try:
            yield console
        finally:
            app.close()
