"""`podpass azwi`: the command line of azure-workload-identity's `azwi`; a link of this name replaces it.

Its failures have azure-workload-identity's form: `Error: ...` on stderr, exit code 1.
"""

import importlib
import re

import click

from podpass.cli.account_options import set_debug
from podpass.cli.commands import ALIASES, SuggestingGroup
from podpass.cli.serviceaccount import REFERENCE

_COMMANDS = ("completion", "jwks", "podidentity", "serviceaccount", "version")
_DEBUG = re.compile(r"--debug(?:=(?P<value>[A-Za-z0-9]+))?")
_TRUE, _FALSE = {"1", "t", "true"}, {"0", "f", "false"}


class ReferenceGroup(SuggestingGroup):
    """The commands of `azwi`; `--debug` may be anywhere, as there."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = REFERENCE
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, [each for each in args if not _is_debug(ctx, each)])

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 signature of click
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "help":
            return _help
        cmd_name = ALIASES.get(cmd_name, cmd_name)
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = importlib.import_module(f"podpass.cli.{cmd_name}").command
        return found


def _is_debug(ctx: click.Context, argument: str) -> bool:
    found = _DEBUG.fullmatch(argument)
    if found is None:
        return False
    value = (found["value"] or "true").lower()
    if value not in _TRUE | _FALSE:
        raise click.BadParameter(f'invalid value "{value}" of --debug: use true or false', ctx)
    set_debug(ctx, on=value in _TRUE)
    return True


@click.command("help")
@click.argument("words", nargs=-1)
@click.pass_context
def _help(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Print the help of a command."""
    assert ctx.parent is not None
    found: click.Command = ctx.parent.command
    inner = ctx.parent
    for word in words:
        child = found.get_command(inner, word) if isinstance(found, click.Group) else None
        if child is None:
            raise click.UsageError(f'unknown help topic "{" ".join(words)}"', ctx)
        found, inner = child, click.Context(child, info_name=child.name, parent=inner)
    click.echo(found.get_help(inner))


@click.command(cls=ReferenceGroup)
@click.option("--debug", is_flag=True, expose_value=False, help="Log each request to Azure.")
def command() -> None:
    """Run a command line of azure-workload-identity's azwi.

    The commands are those of podpass with the same names. A link named `azwi` does the same.
    """
