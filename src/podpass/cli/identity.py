"""`podpass identity`."""

from typing import Any
from urllib.parse import urlencode

import click

from podpass.cli import options
from podpass.cli.client import control
from podpass.cli.output import align, emit, say_left_out
from podpass.errors import Error
from podpass.local.datadir import DataDir

_COLUMNS = {
    "NAME": "name",
    "KIND": "kind",
    "GROUP": "group",
    "CLIENT-ID": "client_id",
    "PRINCIPAL-ID": "principal_id",
    "CREDENTIALS": "credential_names",
}


class NoSuchIdentity(Error):
    """No identity has this name or client id."""

    code = "no_such_identity"
    hint = "list them with `podpass identity list`"


class IdentityUnreadable(Error):
    """No identity that can be read has this name or client id, and there are some that cannot."""

    code = "identity_unreadable"
    hint = "it may be one of those left out: put them right as is said there, then ask again"


class SeveralIdentities(Error):
    """A name is that of several identities; their client ids tell them apart."""

    code = "several_identities"
    hint = "name one by its client id: podpass identity show CLIENT-ID"


@click.group
def command() -> None:
    """Identities and their federated credentials."""


@command.command("list")
@options.data_dir
@options.output()
def list_(data_dir: DataDir, output: str) -> None:
    """List identities."""
    every, damaged = _every(data_dir)
    found = sorted(every, key=lambda row: (row["name"], row["client_id"]))
    rows = [{**row, "credential_names": _names(row), "group": _group(row)} for row in found]
    emit(rows if output == "table" else found, output, _COLUMNS)
    say_left_out(damaged)


@command.command
@options.data_dir
@options.output()
@click.argument("name")
def show(data_dir: DataDir, name: str, output: str) -> None:
    """Show one identity, by its name or client id."""
    every, damaged = _every(data_dir)
    found = [row for row in every if name in (row["name"], row["client_id"])]
    if not found and damaged:
        # Whether a row that cannot be read is the one, nobody knows.
        say_left_out(damaged)
        raise IdentityUnreadable(f"none that can be read is called {name}")
    if not found:
        raise NoSuchIdentity(f"no identity is called {name}")
    if len(found) > 1:
        # Any one of them would look right, and its client id would trust the wrong workloads.
        each = ", ".join(f"{row['client_id']} ({_group(row) or row['kind']})" for row in found)
        raise SeveralIdentities(f"{len(found)} identities are called {name}: {each}")
    _print(found[0]) if output == "table" else emit(found[0], output)
    say_left_out(damaged)


def _group(row: dict[str, Any]) -> str:
    """Name the resource group of a managed identity; an application is in none."""
    return row["resource_id"].split("/")[4] if row["resource_id"] else ""


def _every(data_dir: DataDir) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Read the identities a page at a time; and of those that cannot be read what is wrong, with its cure."""
    every: list[dict[str, Any]] = []
    damaged: list[dict[str, str]] = []
    query = ""
    while True:
        page = control(data_dir, "GET", f"/identities{query}")
        every += page["value"]
        damaged += page["damaged"]
        if page["after"] is None:
            return every, damaged
        query = "?" + urlencode({"after": page["after"]})


def _print(row: dict[str, Any]) -> None:
    lines = [[member, str(row[member])] for member in row if member != "federated_credentials"]
    for credential in row["federated_credentials"]:
        trusted = f"{credential['subject']} of {credential['issuer']}"
        lines.append([f"credential {credential['name']}", trusted])
    click.echo(align(lines), nl=False)


def _names(row: dict[str, Any]) -> list[str]:
    return [credential["name"] for credential in row["federated_credentials"]]
