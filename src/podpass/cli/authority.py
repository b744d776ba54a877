"""`podpass authority`: run the token service."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, replace
from pathlib import Path
from typing import Any

import click

from podpass.cli.commands import SuggestingGroup
from podpass.cli.invocation import environ
from podpass.cli.output import print_message
from podpass.errors import SettingsError
from podpass.settings import AuthorityProcessSettings, AuthoritySettings
from podpass.settings.fields import AUTHORITY_PREFIX
from podpass.settings.reading import find_unknown_variables, parse_texts

_COMMANDS = {
    "seed": ("authority_seed", "Apply a seed file to the directory of the token service"),
    "identities": ("authority_seed", "List the identities of the directory, with their client ids"),
    "keys": ("authority_keys", "List the signing keys: active, upcoming and still published ones"),
    "rotate": ("authority_keys", "Rotate the signing key"),
}
_METAVARS: dict[Any, str] = {int: "N", float: "N", Path: "FILE", Path | None: "FILE", bool: "BOOL"}
_KINDS = (AuthorityProcessSettings, AuthoritySettings)
# The class has a default, for the local loop; here the flag is required.
_REQUIRED = ("origins",)


class AuthorityCommand(SuggestingGroup):
    """A command group that runs the service when no subcommand is given; its help is grouped."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 signature of click
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"podpass.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups = {field.metadata["flag"]: field.metadata["group"] for field in _flag_fields()}
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None:
                title = groups.get(option.opts[-1], "Options")
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _flag_fields() -> list[Field[Any]]:
    flagged = [field for kind in _KINDS for field in fields(kind) if field.metadata["flag"]]
    titles = list(dict.fromkeys(field.metadata["group"] for field in flagged))
    return sorted(flagged, key=lambda field: titles.index(field.metadata["group"]))


def _option(field: Field[Any]) -> Callable[[Any], Any]:
    about, many = field.metadata, field.type == tuple[str, ...]
    meaning = f"{about['meaning'][0].upper()}{about['meaning'][1:]}."
    required = field.default is MISSING or field.name in _REQUIRED
    default = "" if required else about["shown"] or _format_default(field.default)
    suffix = "  [required]" if required else f"  [default: {default}]" if default else ""
    return click.option(
        about["flag"],
        field.name,
        envvar=about["variable"],
        metavar=_METAVARS.get(field.type, "TEXT"),
        multiple=many,
        help=meaning + suffix,
    )


def _format_default(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default) if isinstance(default, str | int | float) and default != "" else ""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for field in reversed(_flag_fields()):
        command = _option(field)(command)
    return command


@click.group(cls=AuthorityCommand, invoke_without_command=True)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the ready message: text on stderr, or one line of JSON on stdout.",
)
@_options
@click.pass_context
def command(ctx: click.Context, /, output: str, **given: Any) -> None:
    """Run the token service for clusters without Entra.

    It runs several worker processes behind one address. Every flag has an environment variable:
    PODPASS_AUTHORITY_ and the flag's name. The variable of a repeatable flag takes a comma-separated list.
    Other variables with this prefix are refused, except those that Kubernetes sets for Services. On SIGTERM
    the service completes the requests in flight and exits. On SIGHUP it reloads the certificate.
    """
    problems = find_unknown_variables(AUTHORITY_PREFIX, _KINDS, environ())
    if ctx.invoked_subcommand is not None:
        if problems:
            raise SettingsError(problems)
        return
    from podpass.servers.authority.authority import run

    run(parse_settings(as_texts(given), problems), ready=lambda facts: _print_ready(facts, output))


def as_texts(given: Mapping[str, Any]) -> dict[str, str]:
    """Convert option values to texts; a list becomes a comma-separated text."""
    return {
        name: ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in given.items()
        if value is not None and value != ()
    }


def parse_settings(given: Mapping[str, str], problems: Sequence[str]) -> Any:
    """Parse both settings classes.

    `problems` are those that were found before. Raises SettingsError, with every problem.
    """
    from podpass.servers.authority.resources import Settings

    process, more = parse_texts(AuthorityProcessSettings, given)
    exchange, others = parse_texts(AuthoritySettings, given, required=_REQUIRED)
    if process is None or exchange is None or problems:
        raise SettingsError([*problems, *more, *others])
    graph = process.admin_origin if process.admin_listen else ""
    return Settings(process=process, exchange=replace(exchange, graph_origin=graph))


def _print_ready(facts: dict[str, Any], output: str) -> None:
    if output == "json":
        import json

        click.echo(json.dumps(facts))
        return
    print_message("podpass authority is ready")
    for name in ("service", "health", "admin"):
        if name in facts:
            print_message(f"  {name:8} {facts[name]}")
    print_message(f"  {'workers':8} {', '.join(map(str, facts['workers']))}")
