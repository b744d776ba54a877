"""`podpass run`."""

import os

import click

from podpass.cli import options
from podpass.cli.env import environment_of
from podpass.errors import Error
from podpass.local.datadir import DataDir


class CannotRun(Error):
    """The command to run cannot be started."""

    code = "cannot_run"
    hint = "give the command as you would in a shell: podpass run -- CMD ARGUMENTS"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@options.data_dir
@click.argument("words", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(data_dir: DataDir, words: tuple[str, ...]) -> None:
    """Run one command in that environment.

    Its exit code is the command's own, and signals reach it directly.
    """
    environment = {**options.environ(), **environment_of(data_dir)}
    try:
        # The command takes this process over, so that nothing stands between it and its caller.
        os.execvpe(words[0], words, environment)  # noqa: S606 the words are the user's own
    except OSError as exc:
        raise CannotRun(f"cannot run {words[0]}: {exc.strerror}") from exc
