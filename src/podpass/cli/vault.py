"""`podpass vault`."""

import click

from podpass.cli import options
from podpass.cli.client import control
from podpass.cli.output import emit, say_left_out
from podpass.local.datadir import DataDir

_COLUMNS = {"NAME": "name", "URI": "uri", "LOCATION": "location", "SECRETS": "secrets"}


@click.group
def command() -> None:
    """Key vaults."""


@command.command("list")
@options.data_dir
@options.output()
def list_(data_dir: DataDir, output: str) -> None:
    """List vaults and how many secrets each holds."""
    found = control(data_dir, "GET", "/vaults")
    emit(found["value"], output, _COLUMNS)
    say_left_out(found["damaged"])
