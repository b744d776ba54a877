"""What the console shows comes from a `ConsoleSource`: a local instance, or an authority."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from podpass.console.fixes import KnownObjects
from podpass.console.timeline import Timeline

Row = Mapping[str, Any]
# The views in the order of the navigation; the first is the start page.
VIEWS = ("loop", "exchanges", "refusals", "pods", "identities", "graph", "audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Rows of a view; `more` if there are others, `skipped` counts those that cannot be read."""

    rows: Sequence[Any]
    more: bool = False
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustGraphView:
    """The trust graph: an image, and the same as text for narrow windows and screen readers.

    `version` changes with the image, so that a browser loads it again; `lines` are pairs of indentation and
    text; `unread` are sentences about what could not be read.
    """

    svg: str
    version: str
    lines: Sequence[tuple[int, str]]
    findings: Sequence[Row]
    unread: Sequence[str] = ()


class ConsoleSource(Protocol):
    """The data of the console. Every method returns a bounded number of rows."""

    @property
    def title(self) -> str:
        """Return the name of what the console shows."""

    @property
    def views(self) -> Sequence[str]:
        """Return those of `VIEWS` that have data."""

    @property
    def commands(self) -> Mapping[str, str]:
        """Return the command that prints the data of a view, by view; some views have no command."""

    @property
    def timeline(self) -> Timeline:
        """Return the exchanges and refusals so far."""

    async def refresh(self) -> None:
        """Add what has happened since the last call to the timeline."""

    async def revision(self, view: str) -> object:
        """Return a value whose `repr` changes when a view of listings changes; may raise Error."""

    async def pods(self) -> Listing:
        """List pods."""

    async def identities(self) -> Listing:
        """List identities with their federated credentials and roles."""

    async def known_objects(self) -> KnownObjects:
        """Return identities and vaults for the commands of refusals, and names for GUIDs."""

    async def audit(self) -> Listing:
        """List the last changes, the newest first."""

    async def graph(self) -> TrustGraphView | None:
        """Return the trust graph; None if it is not available."""
