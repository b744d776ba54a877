"""`podpass cloud`: the cloud half alone, for test clusters and plain containers."""

import importlib

import click

from podpass.cli.commands import SuggestingGroup

COMMANDS = {
    "install": "Install the cloud half into the cluster of the current context",
    "status": "Show what is installed, and whether it is ready",
    "apply": "Apply a seed file to the installed cloud",
    "env": "Print environment variables that point clients of this machine at the installed cloud",
    "run": "Run one command of this machine with the environment variables of `podpass cloud env`",
    "browser": "Open a browser of this machine in which Azure's names are the installed cloud",
    "demo": "Follow one token from a pod of the cluster to a vault secret",
    "reset": "Return the installed cloud to its seed, for example between two tests",
    "uninstall": "Remove the cloud half from the cluster",
    "serve": "Run the cloud half in this process, as in the pod or in a container",
}

# Commands that other commands run in the pod.
_HIDDEN = ("control",)


class CloudGroup(SuggestingGroup):
    """A group that imports the module of a command when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 signature of click
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in (*COMMANDS, *_HIDDEN):
            return None
        module = importlib.import_module(f"podpass.cli.cloud_{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=CloudGroup)
def command() -> None:
    """Give any cluster an Azure of its own: the cloud half of podpass, for tests.

    The cloud half is a token service, a directory with Microsoft Graph and Resource Manager, and key vaults.
    It answers under Azure's names to the pods of a test cluster. Do not install it on a production cluster.
    """
