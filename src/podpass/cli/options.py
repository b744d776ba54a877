"""Options that several commands share; processes of a cluster have none of them."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from podpass.cli.invocation import command_name
from podpass.cli.invocation import environ as environ
from podpass.cli.output import output_option

if TYPE_CHECKING:
    from podpass.lab.data.datadir import DataDir

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
output = output_option


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    """Parse an option such as `--since 30m` to seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,8})([smhd])", value)
    if found is None:
        raise click.BadParameter("must be a number and s, m, h or d, for example 30m")
    return int(found[1]) * _UNITS[found[2]]


def default_data_dir() -> "DataDir":
    """Return the data directory of a command without `--data-dir`."""
    from podpass.lab.data.datadir import locate

    configured = environ().get("PODPASS_DATA_DIR")
    return locate(Path(configured) if configured else None, environ())


def _locate(ctx: click.Context, _: click.Parameter, value: Path | None) -> "DataDir":
    from podpass.lab.data.datadir import locate

    return locate(value or ctx.find_root().params.get("data_dir"), environ())


data_dir: Decorator = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, readable=False),
    metavar="D",
    callback=_locate,
    help="Data directory of the instance; or PODPASS_DATA_DIR.  [default: $XDG_STATE_HOME/podpass]",
)

database: Decorator = click.option(
    "--database",
    metavar="URL",
    help="Use this database of a cluster instead: postgresql://user@host/name.",
)

sealing_key_file: Decorator = click.option(
    "--sealing-key-file",
    type=click.Path(path_type=Path),
    envvar="PODPASS_AUTHORITY_SEALING_KEY_FILE",
    metavar="F",
    help="The cluster's sealing key; the backup's keys are tested against it.",
)


def setting(settings: type[Any], name: str, metavar: str = "") -> Decorator:
    """Add the option of a setting: flag, variable, default and description. A switch is off by default."""
    declared = next(field for field in fields(settings) if field.name == name)
    meaning = declared.metadata["meaning"]
    is_flag = declared.default is False
    return click.option(
        declared.metadata["flag"],
        name,
        type=type(declared.default),
        callback=_make_absolute if metavar == "FILE" else None,
        is_flag=is_flag,
        default=declared.default,
        show_default=declared.default != "" and not is_flag,
        envvar=declared.metadata["variable"],
        metavar=None if is_flag else metavar,
        help=f"{meaning[0].upper()}{meaning[1:]}.",
    )


def _make_absolute(_: click.Context, __: click.Parameter, value: str) -> str:
    """Return an absolute path: `up --detach` reads the file in another working directory."""
    return value and str(Path(value).absolute())


def azure_settings(settings: type[Any]) -> Decorator:
    """Add the options that `podpass up` and `podpass cloud serve` share, except the data directory."""
    shared = (
        ("propagation_seconds", "SECONDS"),
        ("assertion_algorithms", "ALGORITHMS"),
        ("pipelines", "PLATFORMS"),
        ("private_issuers", "HOSTS"),
        ("issuer_ca_file", "FILE"),
        ("require_pod_claims", ""),
        ("flexible_kubernetes", ""),
        ("allow_wide", ""),
        ("azurite", "URL"),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, metavar in reversed(shared):
            command = setting(settings, name, metavar)(command)
        return command

    return decorate


def format_command(data_dir: "DataDir", command: str) -> str:
    """Return a podpass command for this instance, for hints: `podpass down --data-dir D`."""
    import shlex

    option = (
        "" if data_dir == default_data_dir() else f" --data-dir {shlex.quote(str(data_dir.root))}"
    )
    noun, _, rest = command.partition(" -- ")
    return f"{command_name()} {noun}{option}" + (f" -- {rest}" if rest else "")
