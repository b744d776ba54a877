"""`podpass tutorial`."""

from datetime import UTC, datetime

import click

from podpass.cli import options
from podpass.local.tutorial.azure_cli import NEWEST
from podpass.local.tutorial.model import MIGRATE, TUTORIAL
from podpass.local.tutorial.play import TutorialOptions, run_tutorial


@click.command
@click.option(
    "--az",
    metavar="VERSION",
    default=NEWEST,
    show_default=True,
    help="Azure CLI version: newest, oldest (2.47.0 if Python 3.10 is installed), or X.Y.Z.",
)
@click.option("--migrate", is_flag=True, help="Run the migration from pod identity instead.")
@click.option("--full", is_flag=True, help="Show the complete output of every command.")
@click.option("--keep", is_flag=True, help="Keep the data directory of the instance.")
def command(az: str, migrate: bool, full: bool, keep: bool) -> None:
    """Run the AKS tutorial with a released az.

    It runs Microsoft's tutorial about workload identity command by command, with an unmodified kubectl and
    az. It installs the Azure CLI once into its own directory, and starts an instance on free ports in a
    temporary directory. At the end it stops the instance and removes the directory. With --migrate it runs
    the migration of Microsoft's page about pod identity, in its three ways.
    """
    chosen = TutorialOptions(script=MIGRATE if migrate else TUTORIAL, az=az, full=full, keep=keep)
    run_tutorial(chosen, options.environ(), datetime.now(UTC), click.echo)
