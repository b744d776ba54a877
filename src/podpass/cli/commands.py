"""The table of commands. Help is printed from it alone; a command's file is imported when it is called."""

import importlib
from difflib import get_close_matches
from pathlib import Path

import click

from podpass import __version__

SECTIONS: dict[str, dict[str, str]] = {
    "The local loop": {
        "up": "Start the whole loop on this machine",
        "status": "Show what runs, and where",
        "env": "Print the environment that leads programs here",
        "run": "Run one command in that environment",
        "down": "Stop the instance",
        "demo": "Follow one token from a pod to a secret",
        "tutorial": "Run the AKS tutorial with the real az",
    },
    "Its directory and images": {
        "apply": "Apply a seed file to the running instance",
        "identity": "Identities and their federated credentials",
        "vault": "Key vaults",
        "image": "What the instance runs for an image name",
        "audit": "Show who changed what",
    },
    "For a cluster": {
        "webhook": "Run the admission webhook for a cluster",
        "authority": "Run the token service for a cluster: several processes, one address",
        "manifests": "Print the objects that the chart renders, for people without Helm",
    },
    "What it keeps": {
        "backup": "Write all that podpass keeps to one file",
        "restore": "Bring back what a backup holds, all of it or nothing",
    },
    "Why it does not work": {
        "explain": "Say what an AADSTS error means, how it comes about, and what to do",
        "token": "Look into a token",
    },
    "Shell": {
        "completion": "Print a completion script for your shell",
    },
}


class ByName(click.Group):
    """A group whose commands are found by their names, in `list_commands`, when they are called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            near = get_close_matches(args[0], self.list_commands(ctx))
            if not near:
                raise
            raise click.UsageError(f"{exc.message} Did you mean {near[0]!r}?", ctx) from exc


class Commands(ByName):
    """A group whose commands are files beside this one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's own signature
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"podpass.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, rows in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(rows.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `podpass demo`, or with `podpass up` and what it tells you to run next.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="D",
    envvar="PODPASS_DATA_DIR",
    help="Folder of the instance; default $XDG_STATE_HOME/podpass.",
)
@click.version_option(__version__, "--version", "-V", message="podpass %(version)s")
def cli(data_dir: Path | None) -> None:
    """Microsoft Entra Workload ID, the whole loop: a pod gets its Azure tokens without a stored secret."""
    del data_dir  # read by `options.data_dir` of the command that is called
