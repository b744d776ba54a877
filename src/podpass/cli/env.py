"""`podpass env`."""

import click

from podpass.cli import options
from podpass.cli.client import require_status
from podpass.local.datadir import DataDir, load_config
from podpass.local.environment import SHELLS, as_json, format_exports, host_environment


@click.command
@options.data_dir
@click.option(
    "--shell",
    type=click.Choice(list(SHELLS)),
    default="sh",
    show_default=True,
    help="Syntax of the output.",
)
@options.output("shell", "json")
def command(data_dir: DataDir, shell: str, output: str) -> None:
    """Print environment variables that point clients at this instance.

    \b
    sh, bash, zsh   eval "$(podpass env)"
    fish            podpass env --shell fish | source
    """
    values = instance_environment(data_dir)
    click.echo(as_json(values) if output == "json" else format_exports(values, shell), nl=False)


def instance_environment(data_dir: DataDir) -> dict[str, str]:
    """Return the environment variables for clients of the running instance.

    Errors:  NotRunning.
    """
    require_status(data_dir)
    return host_environment(data_dir, load_config(data_dir).ports["gateway"], options.environ())
