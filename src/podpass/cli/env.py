"""`podpass env`."""

import click

from podpass.cli import options
from podpass.cli.client import require_status
from podpass.local.datadir import DataDir, load_facts
from podpass.local.environment import SHELLS, as_json, exports, host_environment


@click.command
@options.data_dir
@click.option(
    "--shell",
    type=click.Choice(list(SHELLS)),
    default="sh",
    show_default=True,
    help="Whose syntax.",
)
@options.output("shell", "json")
def command(data_dir: DataDir, shell: str, output: str) -> None:
    """Print the environment that leads programs here.

    \b
    Use it as   eval "$(podpass env)"
    in fish     podpass env --shell fish | source
    """
    values = environment_of(data_dir)
    click.echo(as_json(values) if output == "json" else exports(values, shell), nl=False)


def environment_of(data_dir: DataDir) -> dict[str, str]:
    """Give the environment of a running instance.

    Errors:  NotRunning.
    """
    require_status(data_dir)
    return host_environment(data_dir, load_facts(data_dir).ports["gateway"], options.environ())
