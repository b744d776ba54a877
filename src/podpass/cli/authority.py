"""`podpass authority`: the token service as a process of its own."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

import click

from podpass.cli.commands import ByName
from podpass.cli.output import say
from podpass.settings import AuthorityProcessSettings, AuthoritySettings

_COMMANDS = {
    "seed": ("authority_seed", "Bring the authority's directory to what a seed file says"),
    "keys": ("authority_keys", "List the signing keys: which one signs, which comes"),
    "rotate": ("authority_keys", "Sign with the next key"),
}
_METAVARS: dict[Any, str] = {int: "N", float: "N", Path: "FILE", Path | None: "FILE", bool: "BOOL"}
_KINDS = (AuthorityProcessSettings, AuthoritySettings)
# The class has a default, for the local loop; a service of one's own has its own name.
_REQUIRED = ("origins",)


class Authority(ByName):
    """A command with commands: without one it runs the service. Its long help is grouped."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's own signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"podpass.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups = {field.metadata["flag"]: field.metadata["group"] for field in _flagged()}
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


def _flagged() -> list[Field[Any]]:
    found = [field for kind in _KINDS for field in fields(kind) if field.metadata["flag"]]
    titles = list(dict.fromkeys(field.metadata["group"] for field in found))
    return sorted(found, key=lambda field: titles.index(field.metadata["group"]))


def _option(field: Field[Any]) -> Callable[[Any], Any]:
    about, many = field.metadata, field.type == tuple[str, ...]
    meaning = f"{about['meaning'][0].upper()}{about['meaning'][1:]}."
    required = field.default is MISSING or field.name in _REQUIRED
    default = "" if required else about["shown"] or _shown(field.default)
    told = "  [required]" if required else f"  [default: {default}]" if default else ""
    return click.option(
        about["flag"],
        field.name,
        envvar=about["variable"],
        metavar=_METAVARS.get(field.type, "TEXT"),
        multiple=many,
        help=meaning + told,
    )


def _shown(default: object) -> str:
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default) if isinstance(default, str | int | float) and default != "" else ""


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for field in reversed(_flagged()):
        command = _option(field)(command)
    return command


@click.group(cls=Authority, invoke_without_command=True)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the ready line is printed: to stderr for people, or to stdout as one line of JSON.",
)
@_options
@click.pass_context
def command(ctx: click.Context, /, output: str, **given: Any) -> None:
    """Run the token service for a cluster: several processes, one address.

    Every flag has a variable, PODPASS_AUTHORITY_ and its name; flags that may stand several times take commas
    there. SIGTERM ends it when what is under way is answered, SIGHUP reads the certificate again.
    """
    if ctx.invoked_subcommand is not None:
        return
    from podpass.servers.authority.authority import run

    run(read(texts(given)), ready=lambda facts: _ready(facts, output))


def texts(given: Mapping[str, Any]) -> dict[str, str]:
    """Give what was given as texts: a list of several with commas."""
    return {
        name: ",".join(value) if isinstance(value, tuple) else str(value)
        for name, value in given.items()
        if value is not None and value != ()
    }


def read(given: Mapping[str, str]) -> Any:
    """Make the settings of both kinds.

    Errors:  SettingsError with every problem.
    """
    from podpass.errors import SettingsError
    from podpass.servers.authority.resources import Settings
    from podpass.settings.reading import from_texts

    process, problems = from_texts(AuthorityProcessSettings, given)
    exchange, others = from_texts(AuthoritySettings, given, required=_REQUIRED)
    if process is None or exchange is None:
        raise SettingsError([*problems, *others])
    return Settings(process=process, exchange=exchange)


def _ready(facts: dict[str, Any], output: str) -> None:
    if output == "json":
        import json

        click.echo(json.dumps(facts))
        return
    say("podpass authority is ready")
    for name in ("service", "health", "admin"):
        if name in facts:
            say(f"  {name:8} {facts[name]}")
    say(f"  {'workers':8} {', '.join(map(str, facts['workers']))}")
