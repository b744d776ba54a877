"""The table of clients through the migration sidecar: what a cell says, and the page that has to agree."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.clients.matrix import align
from tests.clients.sidecar_clients import (
    DIRECT,
    MODES,
    NO,
    SIDECAR_CLIENTS,
    WITH,
    WITHOUT,
    YES,
    SidecarClient,
)

HEAD = ("language", "package", "version", "credential", *MODES)
BEGIN = "<!-- the sidecar's table is written by `make test-clients WRITE=docs/clients.md` -->"
END = "<!-- the sidecar's table ends here -->"


def cell(without_client_id: bool, with_client_id: bool, *, is_direct: bool) -> str:
    """Return the text of a cell: for which of both requests the client read the right secret."""
    if is_direct and (without_client_id or with_client_id):
        return DIRECT
    found = {(True, True): YES, (True, False): WITHOUT, (False, True): WITH}
    return found.get((without_client_id, with_client_id), NO)


@dataclass
class SidecarRows:
    """The rows of the clients that ran: version and cells by the name of the client."""

    found: dict[str, tuple[str, Sequence[str]]] = field(default_factory=dict)

    def add(self, client: SidecarClient, version: str, cells: Sequence[str]) -> None:
        """Store the row of a client; the cells have the order of the modes."""
        self.found[client.name] = version, cells

    @property
    def is_complete(self) -> bool:
        """Return whether all clients ran."""
        return set(self.found) == {client.name for client in SIDECAR_CLIENTS}

    def format(self) -> str:
        """Return the table, and the reasons to which its cells refer."""
        numbers = reason_numbers()
        lines = [HEAD]
        for client in SIDECAR_CLIENTS:
            if client.name not in self.found:
                continue
            version, cells = self.found[client.name]
            reasons = [client.reasons.get(mode) for mode in MODES]
            shown = [
                f"{text} ({numbers[reason.text]})" if reason else text
                for text, reason in zip(cells, reasons, strict=True)
            ]
            lines.append((client.language, client.package, version, client.credential, *shown))
        listed = "".join(f"{number}. {text}\n" for text, number in numbers.items())
        return f"{align(lines)}\n{listed}"


def reason_numbers() -> dict[str, int]:
    """Return the reasons in the order of the table, numbered."""
    texts = [
        client.reasons[mode].text
        for client in SIDECAR_CLIENTS
        for mode in MODES
        if mode in client.reasons
    ]
    return {text: number for number, text in enumerate(dict.fromkeys(texts), 1)}


def documented_row(client: SidecarClient, page: str) -> list[str]:
    """Return the page's cells of a client, without the numbers of their reasons; empty if it has no row."""
    table = page.partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    rows = [[each.strip() for each in line.strip("|").split(" | ")] for line in lines]
    # The rows have the order of the clients: a version may be newer than on the page.
    at = SIDECAR_CLIENTS.index(client)
    if at >= len(rows):
        return []
    language, package, _, credential, *cells = rows[at]
    if (language, package, credential) != (client.language, client.package, client.credential):
        return []
    return [text.partition(" (")[0] for text in cells]
