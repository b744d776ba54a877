"""The console in browser sessions, and what must hold in each of them."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.journey.instance import Instance

PATIENCE_MS = 60_000
VIEWS = ("", "exchanges", "refusals", "pods", "identities", "graph", "audit")


@dataclass
class Session:
    """A browser session that is signed in to the console."""

    tab: Any
    context: Any
    base: str = ""
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def show(self, view: str) -> Any:
        """Open a view and wait until it is live; return the tab."""
        self.tab.goto(self.base + view)
        self.wait_until_live()
        return self.tab

    def wait_until_live(self) -> None:
        """Wait until the event stream is connected."""
        self.tab.wait_for_selector("#live.on")

    def watch(self) -> None:
        """Record errors and requests of this session."""
        self.tab.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.tab.on("dialog", lambda dialog: self.problems.append(f"dialog: {dialog.message}"))
        self.tab.on("console", self._on_console)
        self.tab.on("request", lambda request: self.requests.append(request.url))

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")


class ConsolePages:
    """Opens browser sessions with a console of an instance."""

    def __init__(self, chromium: Any, instance: Instance) -> None:
        self._chromium = chromium
        self.instance = instance
        self._sessions: list[Session] = []

    def link(self) -> str:
        """Return a new one-time link."""
        return self.instance.podpass("console").stdout.strip()

    def open(self, *, link: str = "", **how: Any) -> Session:
        """Sign in with a link in a new browser session.

        `how` are options of Playwright's `new_context`, as `locale` or `color_scheme`.
        """
        context = self._chromium.new_context(**{"locale": "en-US", **how})
        context.set_default_timeout(PATIENCE_MS)
        session = Session(context.new_page(), context)
        self._sessions.append(session)
        session.watch()
        session.tab.goto(link or self.link())
        session.tab.wait_for_selector("main")
        session.base = session.tab.url
        return session

    def close(self) -> None:
        """Check that no session had an error or left the console; close all."""
        origin = self.instance.status["console"]
        for session in self._sessions:
            session.context.close()
        for session in self._sessions:
            assert session.problems == [], session.problems
            hosts = {urlsplit(url)._replace(path="", query="").geturl() for url in session.requests}
            assert hosts == {origin}
