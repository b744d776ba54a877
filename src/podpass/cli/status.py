"""`podpass status`."""

from typing import Any
from urllib.parse import urlsplit

import click

from podpass import names
from podpass.cli import options, pod_limits
from podpass.cli.client import (
    NotResponding,
    call_control,
    check_health,
    is_cloud_alone,
    read_status,
)
from podpass.cli.output import align, print_message, print_output, print_skipped_rows, text_width
from podpass.lab.cluster.pod_access import NOTES
from podpass.lab.data import disk_errors
from podpass.lab.data.datadir import DataDir
from podpass.lab.data.lock import check_lock_file, lock_holder


@click.command
@options.data_dir
@options.output()
@click.pass_context
def command(ctx: click.Context, data_dir: DataDir, output: str) -> None:
    """Show the status and the addresses of the instance.

    Exits with status 1 when no instance is ready. An instance with a damaged database file is not ready.
    """
    status = read_status(data_dir)
    if status is None:
        if output != "table":
            print_output(
                {"ready": False, "data_dir": str(data_dir.root), "log": str(data_dir.log_file)},
                output,
            )
        _print_not_ready(data_dir)
        ctx.exit(1)
    try:
        check_health(data_dir, status["pids"]["podpass"])
    except NotResponding:
        if output != "table":
            print_output({**status, "ready": False}, output)
        raise
    status = call_control(data_dir, "GET", "/status")
    print_skipped_rows(status["damaged"])
    if not is_cloud_alone(status):
        for stopped in status["stopped_containers"]:
            print_message(f"podpass: {stopped} does not respond: a signal has stopped it")
        for warning in pod_limits.outdated_warnings(status):
            print_message(f"podpass: {warning}")
    if (problem := disk_errors.find_disk_problem(data_dir.root)) is not None:
        print_message(f"podpass: {problem}: writes to {data_dir.root} may fail")
        print_message(f"  {disk_errors.DiskNotWritable.hint}")
    if output == "table":
        click.echo(align(status_rows(status), text_width()), nl=False)
    else:
        print_output(status | ({"disk": problem} if problem else {}), output)
    ctx.exit(0 if status["ready"] else 1)


def _print_not_ready(data_dir: DataDir) -> None:
    if lock_holder(data_dir.lock_file) is None:
        check_lock_file(data_dir.lock_file)
        print_message(f"podpass: no instance is running in {data_dir.root}")
        print_message(f"  start it with `{options.format_command(data_dir, 'up --detach')}`")
    else:
        print_message(f"podpass: the instance in {data_dir.root} is starting")
        print_message(f"  try again in a few seconds; its log is {data_dir.log_file}")


def _direct_vault(origin: str) -> str:
    """Return the URL of a vault on the port of the vault service, for clients without the gateway."""
    return f"https://NAME.{names.DIRECT_VAULT_SUFFIX}:{urlsplit(origin).port}"


def _storage_rows(status: dict[str, Any]) -> list[list[str]]:
    """Return the row of the storage accounts; none without `--azurite`."""
    azurite = status["settings"].get("--azurite")
    host = f"https://NAME.blob.{names.STORAGE_SUFFIX}"
    return [["storage", f"{host} through the gateway (data: {azurite})"]] if azurite else []


def _trust_rows(status: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the issuers and platforms that the user added; an older instance reports none."""
    found = {"outside issuers": status.get("issuers"), "pipelines": status.get("pipelines")}
    return [[name, ", ".join(values)] for name, values in found.items() if values]


def status_rows(status: dict[str, Any]) -> list[list[str]]:
    """Format a status as rows of name and value."""
    if is_cloud_alone(status):
        return [
            *([name, address] for name, address in status["listens"].items()),
            ["tenant", status["tenant_id"]],
            ["subscription", status["subscription_id"]],
            *_trust_rows(status),
            ["ca_file", status["ca_file"]],
            ["process", str(status["pids"]["podpass"])],
        ]
    kubernetes = status["kubernetes"]
    return [
        ["gateway", f"{status['gateway']} (HTTPS_PROXY for Azure host names)"],
        ["kubernetes", f"{kubernetes['server']} ({kubernetes['kind']})"],
        ["kubeconfig", kubernetes["kubeconfig"]],
        ["issuer", kubernetes["issuer"]],
        *_trust_rows(status),
        ["webhook", kubernetes["webhook"] or "left out by --no-webhook"],
        ["authority", f"{status['authority']} (AZURE_AUTHORITY_HOST without the gateway)"],
        ["vault", f"{status['vault']} (https://NAME.{names.VAULT_SUFFIX} through the gateway)"],
        ["vault, direct", f"{_direct_vault(status['vault'])} (without the gateway)"],
        *_storage_rows(status),
        ["ARM and Graph", f"{status['resource_manager']} (without the gateway)"],
        ["console", f"{status['console']} (podpass console prints a link)"],
        ["tenant", status["tenant_id"]],
        ["subscription", status["subscription_id"]],
        [
            "admin",
            f"{status['admin']['username']} (password: podpass get password; az is signed in)",
        ],
        ["ca_file", status["ca_file"]],
        ["log", status["log"]],
        *pod_limits.describe_pods(status),
        ["without proxy", NOTES.get(status["without_proxy"], status["without_proxy"])],
        ["process", ", ".join(f"{pid} ({name})" for name, pid in status["pids"].items())],
    ]
