"""`podpass vault`."""

import click

from podpass.cli import options
from podpass.cli.client import call_control
from podpass.cli.commands import SuggestingGroup
from podpass.cli.output import print_output, print_skipped_rows
from podpass.lab.data.datadir import DataDir

_COLUMNS = {"NAME": "name", "URI": "uri", "LOCATION": "location", "SECRETS": "secrets"}


@click.group(
    cls=SuggestingGroup,
    epilog="Vaults and their secrets are created by a seed (`podpass apply`), by `az keyvault create` and"
    " `az keyvault secret set`.",
)
def command() -> None:
    """Show key vaults."""


@command.command("list")
@options.data_dir
@options.output()
def list_(data_dir: DataDir, output: str) -> None:
    """List vaults and the number of secrets in each."""
    found = call_control(data_dir, "GET", "/vaults")
    print_output(found["value"], output, _COLUMNS)
    print_skipped_rows(found["damaged"])
