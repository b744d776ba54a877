"""`podpass apply`."""

import sys
from pathlib import Path
from urllib.parse import quote

import click

from podpass.cli import options
from podpass.cli.client import control
from podpass.cli.output import say
from podpass.errors import UsageError
from podpass.local.datadir import DataDir


@click.command
@options.data_dir
@click.option(
    "-f", "--filename", required=True, metavar="FILE", help="The seed file; - reads stdin."
)
def command(data_dir: DataDir, filename: str) -> None:
    """Apply a seed file to the running instance.

    Identities, federated credentials, vaults, secrets and roles; applying it again changes nothing.
    """
    send(data_dir, read(filename), filename)


def read(filename: str) -> bytes:
    """Read a seed file.

    Errors:  UsageError.
    """
    if filename == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(filename).read_bytes()
    except OSError as exc:
        raise UsageError(
            f"cannot read {filename}: {exc.strerror}", hint="name a seed file that is there"
        ) from exc


def send(data_dir: DataDir, text: bytes, filename: str) -> None:
    """Have a running instance apply a seed, and say what came of it."""
    answer = control(data_dir, "POST", f"/apply?filename={quote(filename, safe='')}", text)
    for line in answer["changed"]:
        click.echo(line)
    if not answer["changed"]:
        say("nothing to change")
