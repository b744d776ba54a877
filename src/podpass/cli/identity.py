"""`podpass identity`."""

from typing import Any

import click

from podpass.cli import options
from podpass.cli.client import list_identities
from podpass.cli.commands import SuggestingGroup
from podpass.cli.completion_values import complete_identities
from podpass.cli.output import align, format_cell, print_message, print_output, print_skipped_rows
from podpass.errors import Error
from podpass.lab.data.datadir import DataDir

# The warning begins with the 18th of 20 credentials.
_WARN_BEFORE_LIMIT = 3
_COLUMNS = {
    "NAME": "name",
    "KIND": "kind",
    "GROUP": "group",
    "CLIENT-ID": "client_id",
    "PRINCIPAL-ID": "principal_id",
    "USED": "used",
    "CREDENTIALS": "credential_names",
}


class IdentityNotFound(Error):
    """No identity has this name or client id."""

    code = "identity_not_found"
    hint = "list them with `podpass identity list`"


class IdentityNotReadable(Error):
    """No readable identity has this name or client id, and some identities cannot be read."""

    code = "identity_not_readable"
    hint = (
        "it may be one of the skipped identities: repair them as described above, then run it again"
    )


class AmbiguousIdentity(Error):
    """Several identities have this name."""

    code = "ambiguous_identity"
    hint = "pass the client id: podpass identity show CLIENT-ID"


@click.group(
    cls=SuggestingGroup,
    epilog="Identities are created by a seed (`podpass apply`), by `az identity create`,"
    " and by `podpass connect`.",
)
def command() -> None:
    """Show identities and their federated credentials."""


@command.command("list")
@options.data_dir
@options.output()
def list_(data_dir: DataDir, output: str) -> None:
    """List identities."""
    print_identities(*list_identities(data_dir), output)


def print_identities(
    identities: list[dict[str, Any]], skipped: list[dict[str, str]], output: str
) -> None:
    """Print the rows of identities by name, and those that cannot be read."""
    found = sorted(identities, key=lambda row: (row["name"], row["client_id"]))
    rows = [
        {
            **row,
            "credential_names": _credential_names(row),
            "group": _resource_group(row),
            "used": _used_credentials(row),
        }
        for row in found
    ]
    print_output(rows if output == "table" else found, output, _COLUMNS)
    _warn_near_limit(found)
    print_skipped_rows(skipped)


@command.command
@options.data_dir
@options.output()
@click.argument("name", shell_complete=complete_identities)
def show(data_dir: DataDir, name: str, output: str) -> None:
    """Show one identity, by its name or client id."""
    identities, skipped = list_identities(data_dir)
    found = [row for row in identities if name in (row["name"], row["client_id"])]
    if not found and skipped:
        # One of the rows that cannot be read may be the requested identity.
        print_skipped_rows(skipped)
        raise IdentityNotReadable(f"no readable identity has the name or client id {name}")
    if not found:
        raise IdentityNotFound(f"no identity has the name or client id {name}")
    if len(found) > 1:
        # With the wrong client id, the caller would configure trust for the wrong workloads.
        each = ", ".join(
            f"{row['client_id']} ({_resource_group(row) or row['kind']})" for row in found
        )
        raise AmbiguousIdentity(f"{len(found)} identities have the name {name}: {each}")
    _print_identity(found[0]) if output == "table" else print_output(found[0], output)
    _warn_near_limit(found)
    print_skipped_rows(skipped)


def _used_credentials(row: dict[str, Any]) -> str:
    return f"{row['federated_credential_count']} of {row['federated_credential_limit']}"


def _warn_near_limit(rows: list[dict[str, Any]]) -> None:
    """Warn about identities that have almost the maximum number of federated credentials."""
    for row in rows:
        used, limit = row["federated_credential_count"], row["federated_credential_limit"]
        if used > limit - _WARN_BEFORE_LIMIT:
            print_message(
                f"podpass: identity {row['name']} has {used} of {limit} federated credentials; use another"
                " identity for more workloads"
            )


def _resource_group(row: dict[str, Any]) -> str:
    """Return the resource group of a managed identity, empty for an application."""
    return row["resource_id"].split("/")[4] if row["resource_id"] else ""


def _print_identity(row: dict[str, Any]) -> None:
    counted = ("federated_credentials", "federated_credential_count", "federated_credential_limit")
    lines = [[member, format_cell(row[member])] for member in row if member not in counted]
    lines.append(["credentials", _used_credentials(row)])
    for credential in row["federated_credentials"]:
        trusted = f"{credential['subject'] or credential['expression']} of {credential['issuer']}"
        lines.append([f"credential {credential['name']}", trusted])
    click.echo(align(lines), nl=False)


def _credential_names(row: dict[str, Any]) -> list[str]:
    return [credential["name"] for credential in row["federated_credentials"]]
