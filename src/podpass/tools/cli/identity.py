"""`podpass identity`."""

from typing import Any

import click

from podpass.errors import Error
from podpass.tools.cli import options
from podpass.tools.cli.client import control
from podpass.tools.cli.output import align, emit
from podpass.tools.local.datadir import DataDir

_COLUMNS = {
    "NAME": "name",
    "KIND": "kind",
    "CLIENT-ID": "client_id",
    "PRINCIPAL-ID": "principal_id",
    "CREDENTIALS": "credential_names",
}


class NoSuchIdentity(Error):
    """No identity has this name or client id."""

    code = "no_such_identity"
    hint = "list them with `podpass identity list`"


@click.group
def command() -> None:
    """Identities and their federated credentials."""


@command.command("list")
@options.data_dir
@options.output()
def list_(data_dir: DataDir, output: str) -> None:
    """List identities."""
    found = control(data_dir, "GET", "/identities")["value"]
    rows = [{**row, "credential_names": _names(row)} for row in found]
    emit(rows if output == "table" else found, output, _COLUMNS)


@command.command
@options.data_dir
@options.output()
@click.argument("name")
def show(data_dir: DataDir, name: str, output: str) -> None:
    """Show one identity, by its name or client id."""
    for row in control(data_dir, "GET", "/identities")["value"]:
        if name in (row["name"], row["client_id"]):
            return _print(row) if output == "table" else emit(row, output)
    raise NoSuchIdentity(f"no identity is called {name}")


def _print(row: dict[str, Any]) -> None:
    lines = [[member, str(row[member])] for member in row if member != "federated_credentials"]
    for credential in row["federated_credentials"]:
        trusted = f"{credential['subject']} of {credential['issuer']}"
        lines.append([f"credential {credential['name']}", trusted])
    click.echo(align(lines), nl=False)


def _names(row: dict[str, Any]) -> list[str]:
    return [credential["name"] for credential in row["federated_credentials"]]
