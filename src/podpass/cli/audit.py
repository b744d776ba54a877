"""`podpass audit`."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import click

from podpass.cli import options
from podpass.cli.client import call_control
from podpass.cli.completion_values import complete_any, complete_identities, complete_vaults
from podpass.cli.output import print_output, print_skipped_rows
from podpass.lab.data.datadir import DataDir

_COLUMNS = {
    "TIME": "time",
    "WHO": "who",
    "ACTION": "action",
    "TARGET": "target",
    "GRANT": "grant",
}


@click.command
@options.data_dir
@options.output()
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="Maximum number of entries; the newest are shown.",
)
@click.option(
    "--since",
    metavar="TIME",
    callback=options.parse_duration,
    help="Only entries of the last 30m, 12h, 7d, ...",
)
@click.option(
    "--who", metavar="TEXT", help="Only entries whose actor name or id contains this text."
)
@click.option(
    "--target",
    metavar="TEXT",
    shell_complete=complete_any(complete_identities, complete_vaults),
    help="Only entries whose target id contains this text.",
)
def command(
    data_dir: DataDir,
    output: str,
    limit: int,
    since: int | None,
    who: str | None,
    target: str | None,
) -> None:
    """Show the audit log.

    It lists the changes of the directory and the vaults: who changed what, and when. The newest entry is
    last. Entries are never deleted. An entry of a role assignment names the role and its principal.
    """
    filters = {"limit": limit, "since": since, "who": who, "target": target}
    query = urlencode({name: value for name, value in filters.items() if value is not None})
    found = call_control(data_dir, "GET", f"/audit?{query}")
    rows = found["value"]
    if output == "table":
        rows = [{**row, "grant": _describe_grant(row)} for row in rows]
    print_output(rows, output, _COLUMNS)
    print_skipped_rows(found["damaged"])


def _describe_grant(row: Mapping[str, Any]) -> str:
    return f"{row['role']} for {row['principal']}" if "role" in row else ""
