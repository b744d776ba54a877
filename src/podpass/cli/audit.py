"""`podpass audit`."""

import re
from urllib.parse import urlencode

import click

from podpass.cli import options
from podpass.cli.client import control
from podpass.cli.output import emit, say_left_out
from podpass.local.datadir import DataDir

_COLUMNS = {"TIME": "time", "WHO": "who", "ACTION": "action", "TARGET": "target"}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", value)
    if found is None:
        raise click.BadParameter("want a number and s, m, h or d, such as 30m")
    return int(found[1]) * _UNITS[found[2]]


@click.command
@options.data_dir
@options.output()
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    metavar="N",
    help="At most so many, the newest.",
)
@click.option("--since", metavar="TIME", callback=_seconds, help="Of the last 30m, 12h, 7d, ...")
@click.option("--who", metavar="TEXT", help="Only of those whose name or id holds this text.")
@click.option("--target", metavar="TEXT", help="Only of things whose id holds this text.")
def command(
    data_dir: DataDir,
    output: str,
    limit: int,
    since: int | None,
    who: str | None,
    target: str | None,
) -> None:
    """Show who changed what.

    Every change of the directory and the vaults, the latest last; kept as long as the data dir.
    """
    asked = {"limit": limit, "since": since, "who": who, "target": target}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    found = control(data_dir, "GET", f"/audit?{query}")
    emit(found["value"], output, _COLUMNS)
    say_left_out(found["damaged"])
