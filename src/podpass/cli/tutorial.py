"""`podpass tutorial`."""

from datetime import UTC, datetime

import click

from podpass.cli import options
from podpass.local.tutorial.azure_cli import NEWEST
from podpass.local.tutorial.play import Wish, run_tutorial


@click.command
@click.option(
    "--az",
    metavar="VERSION",
    default=NEWEST,
    show_default=True,
    help="Which Azure CLI: newest, oldest (2.47.0 where Python 3.10 is), or a version.",
)
@click.option("--full", is_flag=True, help="Show every answer whole.")
@click.option("--keep", is_flag=True, help="Keep the instance's folder for a look.")
def command(az: str, full: bool, keep: bool) -> None:
    """Run the AKS tutorial with the real az.

    Microsoft's page about workload identity, command by command, with an unmodified kubectl beside az. The
    Azure CLI is installed once into a folder of its own; an instance is started on free ports in
    another, the tutorial's commands run against it, and it is stopped and removed at the end.
    """
    wish = Wish(az=az, full=full, keep=keep)
    run_tutorial(wish, options.environ(), datetime.now(UTC), click.echo)
