"""`podpass version`."""

import json

import click

from podpass import __version__
from podpass.cli import options


@click.command
@options.output("text", "json")
def command(output: str) -> None:
    """Print version and commit, in the form of azure-workload-identity."""
    from podpass.cli.go_flags import build_version_info

    info = json.loads(build_version_info(options.environ()))
    if output == "json":
        click.echo(json.dumps(info, indent=2))
    else:
        click.echo(f"Version: v{__version__}\nGitCommit: {info['gitCommit']}")
