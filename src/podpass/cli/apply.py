"""`podpass apply`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import click

from podpass import names
from podpass.cli import options
from podpass.cli.client import call_control
from podpass.cli.output import print_message, print_output
from podpass.errors import UsageError
from podpass.lab.data.datadir import DataDir

_NO_AZURITE = "pass the address of Azurite with --azurite URL"


@click.command
@options.data_dir
@options.output("text", "json")
@click.option("-f", "--filename", required=True, metavar="FILE", help="Seed file; - reads stdin.")
@click.option("--stdin-bytes", type=int, hidden=True)
def command(data_dir: DataDir, output: str, filename: str, stdin_bytes: int | None) -> None:
    """Apply a seed file to the running instance.

    It creates or updates identities, federated credentials, vaults, secrets and roles. Applying the same
    file again changes nothing.
    """
    text = read_seed(filename, stdin_bytes)
    changed = apply_to_instance(data_dir, text, filename)
    if output == "json":
        print_output({"changed": changed}, output)
    else:
        print_changes(changed)
    for line in list_instance_storage_warnings(data_dir, text):
        print_message(line)


def read_seed(filename: str, stdin_bytes: int | None = None) -> bytes:
    """Read a seed file, or exactly this many bytes of a standard input that does not end.

    Raises UsageError.
    """
    if filename == "-":
        return sys.stdin.buffer.read(-1 if stdin_bytes is None else stdin_bytes)
    try:
        return Path(filename).read_bytes()
    except OSError as exc:
        raise UsageError(
            f"cannot read {filename}: {exc.strerror}", hint="pass the path of an existing seed file"
        ) from exc


def read_valid_seed(filename: str, name: str) -> str:
    """Read a seed file and check it; `name` is its name in messages.

    Raises UsageError, and the errors of `parse_seed`.
    """
    from podpass.lab.services import parse_seed

    try:
        text = read_seed(filename).decode()
    except UnicodeDecodeError as exc:
        raise UsageError(f"{name} is not UTF-8", hint="save the file as UTF-8") from exc
    parse_seed(text, name)
    return text


def list_storage_warnings(
    seed: str, azurite: str, environ: Mapping[str, str], no_azurite: str = _NO_AZURITE
) -> list[str]:
    """Return a warning if the data of the seed's storage accounts is not served.

    `no_azurite` says how to add Azurite. Raises SettingsError.
    """
    from podpass.lab.install.azurite import list_accounts, warn_of_unserved
    from podpass.settings.storage import parse_accounts

    # Most seeds have no accounts. Such a seed is not parsed a second time.
    if "storage_accounts" not in seed:
        return []
    variable = names.ENV_AZURITE_ACCOUNTS
    return warn_of_unserved(
        list_accounts(seed),
        parse_accounts(environ.get(variable, "")).keys() if azurite else None,
        no_azurite=no_azurite,
        no_key=f"add NAME:KEY to {variable}, for podpass and for Azurite",
    )


def list_instance_storage_warnings(data_dir: DataDir, text: bytes) -> list[str]:
    """Return a warning if the running instance has no Azurite for the storage accounts of an applied seed."""
    from podpass.lab.install.azurite import list_accounts, warn_of_unserved

    if b"storage_accounts" not in text:
        return []
    # A cloud in a pod has no settings in its status: `podpass cloud apply` warns about its accounts.
    settings = call_control(data_dir, "GET", "/status").get("settings", {})
    if settings.get("--azurite") != "":
        return []
    down, up = (options.format_command(data_dir, verb) for verb in ("down", "up --azurite URL"))
    return warn_of_unserved(
        list_accounts(text.decode()),
        None,
        no_azurite=f"run `{down}`, then `{up}`; the data is kept",
        no_key="",
    )


def apply_to_instance(data_dir: DataDir, text: bytes, filename: str) -> list[str]:
    """Apply a seed to the running instance; return a line for each change."""
    answer = call_control(data_dir, "POST", f"/apply?filename={quote(filename, safe='')}", text)
    warn_of_policies(text.decode())
    changed: list[str] = answer["changed"]
    return changed


def warn_of_policies(seed: str) -> None:
    """Warn that `podpass apply` does not use the policies of a seed."""
    from podpass.lab.services import parse_seed

    # Most seeds have no policies. Such a seed is not parsed a second time.
    if "policies" in seed and parse_seed(seed, "seed").entries["policies"]:
        print_message(
            "warning: the policies of the seed are not applied: `podpass lint` reads them"
        )


def print_changes(changed: list[str]) -> None:
    """Print the changes of a seed."""
    for line in changed:
        click.echo(line)
    if not changed:
        print_message("no changes")
