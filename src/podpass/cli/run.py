"""`podpass run`."""

import os

import click

from podpass.cli import options
from podpass.cli.env import instance_environment
from podpass.cli.output import print_message
from podpass.errors import Error
from podpass.local.datadir import DataDir
from podpass.local.proxy_support import find_proxy_warning


class CannotRun(Error):
    """The command cannot be started."""

    code = "cannot_run"
    hint = "check the command: podpass run -- CMD ARGUMENTS"


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@options.data_dir
@click.argument("words", metavar="-- CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(data_dir: DataDir, words: tuple[str, ...]) -> None:
    """Run one command with the environment variables of `podpass env`.

    The command replaces the podpass process: podpass exits with its exit code, and signals reach it
    directly.
    """
    environment = {**options.environ(), **instance_environment(data_dir)}
    if warning := find_proxy_warning(words, environment):
        print_message(warning)
    try:
        # The command replaces this process, so that signals and the exit code need no forwarding.
        os.execvpe(words[0], words, environment)  # noqa: S606 the user chose the command
    except OSError as exc:
        raise CannotRun(f"cannot run {words[0]}: {exc.strerror}") from exc
