"""`podpass image`."""

import os

import click

from podpass.tools.cli import options
from podpass.tools.cli.output import emit, say
from podpass.tools.local import images
from podpass.tools.local.datadir import DataDir, check_version, claim, prepare

_COLUMNS = {
    "NAME": "name",
    "FROM": "origin",
    "COMMAND": "command_line",
    "READY": "ready",
    "WHY NOT": "why",
}


@click.group
def command() -> None:
    """What the instance runs for an image name.

    A container without a `command` runs what its image stands for here. Nothing is pulled.
    """


@command.command("list")
@options.data_dir
@options.output()
def list_(data_dir: DataDir, output: str) -> None:
    """List the images that can run here."""
    check_version(data_dir)
    path = os.environ.get("PATH", os.defpath)  # noqa: TID251 tools
    rows = images.everything(data_dir, path)
    if output != "table":
        rows = [{name: row[name] for name in row if name != "command_line"} for row in rows]
    emit(rows, output, _COLUMNS)


@command.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@options.data_dir
@click.argument("name")
@click.argument("words", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def add(data_dir: DataDir, name: str, words: tuple[str, ...]) -> None:
    """Let an image name stand for a command on this machine."""
    prepare(data_dir)
    claim(data_dir)
    # Click leaves a `--` in place once an argument has been read.
    words = words[1:] if words[0] == "--" else words
    if not words:
        raise click.UsageError("Missing argument '-- CMD...'.")
    images.add(data_dir, name, list(words))
    say(f"pods with the image {name} run: {' '.join(words)}")
