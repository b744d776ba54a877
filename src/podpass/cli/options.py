"""Options that many commands share."""

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from podpass.local.datadir import DataDir, locate

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def environ() -> Mapping[str, str]:
    """Give the environment; it is read here and nowhere below."""
    return os.environ  # noqa: TID251 this is the place


def _locate(ctx: click.Context, _: click.Parameter, value: Path | None) -> DataDir:
    return locate(value or ctx.find_root().params.get("data_dir"), environ())


data_dir: Decorator = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="D",
    callback=_locate,
    help="Folder of the instance; default $XDG_STATE_HOME/podpass.",
)

database: Decorator = click.option(
    "--database", metavar="URL", help="A cluster's database instead: postgresql://user@host/name."
)

sealing_key_file: Decorator = click.option(
    "--sealing-key-file",
    type=click.Path(path_type=Path),
    envvar="PODPASS_AUTHORITY_SEALING_KEY_FILE",
    metavar="F",
    help="The cluster's sealing key, to tell whether it opens what the backup holds.",
)


def setting(settings: type[Any], name: str, metavar: str) -> Decorator:
    """Offer a setting under its flag and variable, with its default and its meaning as help."""
    declared = next(field for field in fields(settings) if field.name == name)
    meaning = declared.metadata["meaning"]
    return click.option(
        declared.metadata["flag"],
        name,
        type=type(declared.default),
        default=declared.default,
        show_default=True,
        envvar=declared.metadata["variable"],
        metavar=metavar,
        help=f"{meaning[0].upper()}{meaning[1:]}.",
    )


def output(default: str = "table", *others: str) -> Decorator:
    """Offer `-o`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([*dict.fromkeys([default, *others])] if others else _FORMATS),
        default=default,
        show_default=True,
        help="How to print it.",
    )


_FORMATS = ["table", "json", "yaml"]


def as_command(data_dir: DataDir, command: str) -> str:
    """Spell a command that reaches this instance, for sentences that say what to run next."""
    import shlex

    named = environ().get("PODPASS_DATA_DIR")
    usual = locate(Path(named) if named else None, environ())
    where = "" if data_dir == usual else f" --data-dir {shlex.quote(str(data_dir.root))}"
    noun, _, rest = command.partition(" -- ")
    return f"podpass {noun}{where}" + (f" -- {rest}" if rest else "")
