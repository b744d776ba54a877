"""`podpass status`."""

from typing import Any
from urllib.parse import urlsplit

import click

from podpass import names
from podpass.cli import options
from podpass.cli.client import NotAnswering, check_answers, read_status
from podpass.cli.output import align, emit, say
from podpass.local import disk_errors
from podpass.local.datadir import DataDir
from podpass.local.lock import holder

_SANDBOXES = {
    "bubblewrap": "your processes; of this data dir they see only what is theirs (bubblewrap)",
    "rewrite": "your processes; they see all your files, also this data dir's keys (no bubblewrap)",
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
    try:
        check_answers(data_dir, status["pids"]["podpass"])
    except NotAnswering:
        if output != "table":
            emit({**status, "ready": False}, output)
        raise
    if (fault := disk_errors.fault(data_dir.root)) is not None:
        say(f"podpass: {fault}: what is to be written to {data_dir.root} may be refused")
        say(f"  {disk_errors.DiskUnfit.hint}")
    if output == "table":
        click.echo(align(picture(status)), nl=False)
    else:
        emit(status | ({"disk": fault} if fault else {}), output)


def _tell_why(data_dir: DataDir) -> None:
    if holder(data_dir.lock_file) is None:
        say(f"podpass: nothing runs on {data_dir.root}")
        say(f"  start it with `{options.as_command(data_dir, 'up --detach')}`")
    else:
        say(f"podpass: the instance on {data_dir.root} is still starting")
        say(f"  ask again in a moment; its log is {data_dir.log_file}")


def _direct_vault(origin: str) -> str:
    """Name a vault on the port of the vaults' own origin."""
    return f"https://NAME.{names.DIRECT_VAULT_SUFFIX}:{urlsplit(origin).port}"


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
        ["vault", f"{status['vault']} (https://NAME.{names.VAULT_SUFFIX} through the gateway)"],
        ["vault by name", f"{_direct_vault(status['vault'])} (without the gateway)"],
        ["manager and graph", f"{status['resource_manager']} (without the gateway)"],
        ["tenant", status["tenant_id"]],
        ["subscription", status["subscription_id"]],
        [
            "admin",
            f"{status['admin']['username']} (its password: -o json; az is signed in already)",
        ],
        ["ca_file", status["ca_file"]],
        ["containers", _SANDBOXES.get(status["sandbox"], status["sandbox"])],
        ["process", ", ".join(f"{pid} ({name})" for name, pid in status["pids"].items())],
    ]
