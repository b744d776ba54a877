"""The client matrix: the results of each client, one row for each package and version."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.clients.catalogue import CLIENTS, MISSING, NOT_TRIED

HEAD = (
    "language",
    "package",
    "version",
    "credentials",
    "secret",
    "Graph token",
    "rotation",
    "result",
)
BEGIN = "<!-- the table is written by `make test-clients WRITE=docs/clients.md` -->"
END = "<!-- the table ends here -->"
NOT_RUN, FAILED, SKIPPED, PASSED = "not run", "failed", "skipped", "passed"


@dataclass
class MatrixRow:
    """The results of one client.

    `secret`, `graph` and `rotation` are the texts of their cells if all tests passed; `tried` has.
    the
             outcomes by test (`pod`, `rotation`) and style.
    """

    language: str
    package: str
    version: str
    secret: str = "yes"
    graph: str = "yes"
    rotation: str = "yes"
    tried: dict[tuple[str, str], str] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)

    def record(self, what: str, style: str, outcome: str, reason: str) -> None:
        """Record the outcome of one test."""
        self.tried[what, style] = outcome
        if outcome == SKIPPED and reason not in self.reasons:
            self.reasons.append(reason)

    def cells(self) -> tuple[str, ...]:
        styles = [
            style for (what, style), got in self.tried.items() if (what, got) == ("pod", PASSED)
        ]
        return (
            self.language,
            self.package,
            self.versions[-1] if self.versions else self.version or "newest",
            ", ".join(styles) or "-",
            self._cell("pod", self.secret),
            self._cell("pod", self.graph),
            self._cell("rotation", self.rotation),
            self._result(),
        )

    def _cell(self, asked: str, well: str) -> str:
        outcomes = {outcome for (what, _), outcome in self.tried.items() if what == asked}
        if not outcomes:
            return well if well == NOT_TRIED else NOT_RUN
        return next((each for each in (FAILED, SKIPPED) if each in outcomes), well)

    def _result(self) -> str:
        failed = [
            f"{what} {style}".strip() for (what, style), got in self.tried.items() if got == FAILED
        ]
        if failed:
            return f"{FAILED}: {', '.join(failed)}"
        if self.reasons:
            return f"{SKIPPED}: {'; '.join(self.reasons)}" if self.tried else self.reasons[0]
        return PASSED if self.tried else NOT_RUN


def sorted_rows() -> dict[str, MatrixRow]:
    """Return the rows in the order of the page, by the names of their clients."""
    found = {
        each.name: MatrixRow(
            *(each.language, each.package, each.version),
            *(each.secret, each.graph, each.keeps_first or each.rotation),
        )
        for each in CLIENTS
    }
    for language, package, version, reason in MISSING:
        found[f"{package} {version}"] = MatrixRow(language, package, version, reasons=[reason])
    return found


def format_table(found: Iterable[MatrixRow]) -> str:
    """Return the rows as a Markdown table with aligned columns."""
    return align([HEAD, *(row.cells() for row in found)])


def align(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first line is its head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    # The last column may have sentences and is not padded.
    widths[-1] = 1
    shown = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([shown[0], ruler, *shown[1:]]) + "\n"


def write_table(page: Path, made: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace what is between two marker comments of the page. Raises ValueError if the page lacks them."""
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{page} has no place for the table")
    page.write_text(f"{before}{begin}\n\n{made}\n{end}{after}")
