"""`podpass tutorial`."""

from datetime import UTC, datetime

import click

from podpass.cli import options
from podpass.errors import UsageError
from podpass.lab.tutorial.azure_cli import NEWEST, OLDEST
from podpass.lab.tutorial.model import CONNECT, MIGRATE, TUTORIAL
from podpass.lab.tutorial.play import TutorialOptions, run_tutorial


@click.command
@click.option(
    "--az",
    metavar="VERSION",
    default=NEWEST,
    show_default=True,
    help="Azure CLI version: newest, oldest (2.47.0 if Python 3.10 is installed), or X.Y.Z.",
)
@click.option("--migrate", is_flag=True, help="Run the migration from pod identity instead.")
@click.option("--connect", is_flag=True, help="Run the page of Service Connector instead.")
@click.option("--full", is_flag=True, help="Show the complete output of every command.")
@click.option("--keep", is_flag=True, help="Keep the data directory of the instance.")
def command(az: str, migrate: bool, connect: bool, full: bool, keep: bool) -> None:
    """Run the AKS tutorial with a released az.

    It runs Microsoft's tutorial about workload identity command by command, with an unmodified kubectl and
    az. It installs the Azure CLI once into its own directory, and starts an instance on free ports in a
    temporary directory. At the end it stops the instance and removes the directory. With --migrate it runs
    the migration of Microsoft's page about pod identity, in its three ways. With --connect one command of
    Service Connector replaces most of the tutorial's commands.
    """
    if migrate and connect:
        raise UsageError("--migrate and --connect exclude each other", hint="pass one of them")
    if connect and az in ("oldest", OLDEST):
        raise UsageError(
            f"az {OLDEST} cannot connect workload identities", hint="pass a newer version with --az"
        )
    script = MIGRATE if migrate else CONNECT if connect else TUTORIAL
    chosen = TutorialOptions(script=script, az=az, full=full, keep=keep)
    run_tutorial(chosen, options.environ(), datetime.now(UTC), click.echo)
