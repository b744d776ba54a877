"""`podpass status`."""

from typing import Any

import click

from podpass.tools.cli import options
from podpass.tools.cli.client import read_status
from podpass.tools.cli.output import align, emit, say
from podpass.tools.local.datadir import DataDir
from podpass.tools.local.lock import holder

_SANDBOXES = {
    "bubblewrap": "see their own file system (bubblewrap)",
    "rewrite": "see this machine's files; paths in their variables are rewritten (no bubblewrap)",
}


@click.command
@options.data_dir
@options.output()
@click.pass_context
def command(ctx: click.Context, data_dir: DataDir, output: str) -> None:
    """Show what runs, and where.

    Leaves with 1 when no instance is ready.
    """
    status = read_status(data_dir)
    if status is None:
        if output != "table":
            emit({"ready": False, "data_dir": str(data_dir.root)}, output)
        _tell_why(data_dir)
        ctx.exit(1)
    if output == "table":
        click.echo(align(picture(status)), nl=False)
    else:
        emit(status, output)


def _tell_why(data_dir: DataDir) -> None:
    if holder(data_dir.lock_file) is None:
        say(f"podpass: nothing runs on {data_dir.root}")
        say(f"  start it with `{options.as_command(data_dir, 'up --detach')}`")
    else:
        say(f"podpass: the instance on {data_dir.root} is still starting")
        say(f"  ask again in a moment; its log is {data_dir.log_file}")


def picture(status: dict[str, Any]) -> list[list[str]]:
    """Lay a status out as lines of a name and a value."""
    kubernetes = status["kubernetes"]
    return [
        ["gateway", f"{status['gateway']} (HTTPS_PROXY for Azure's names)"],
        ["kubernetes", f"{kubernetes['server']} ({kubernetes['kind']})"],
        ["kubeconfig", kubernetes["kubeconfig"]],
        ["issuer", kubernetes["issuer"]],
        ["webhook", kubernetes["webhook"]],
        ["authority", f"{status['authority']} (AZURE_AUTHORITY_HOST without the gateway)"],
        ["vault", f"{status['vault']} (https://NAME.vault.azure.net through the gateway)"],
        ["tenant", status["tenant_id"]],
        ["ca_file", status["ca_file"]],
        ["containers", _SANDBOXES.get(status["sandbox"], status["sandbox"])],
        ["process", ", ".join(f"{pid} ({name})" for name, pid in status["pids"].items())],
    ]
