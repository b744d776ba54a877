"""`podpass webhook`: the admission webhook for a cluster, with the reference's flags in Go's syntax."""

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, fields
from typing import Any

import click

from podpass import __version__
from podpass.settings.webhook import WebhookSettings

_HELP = ("-h", "-help", "--help")
_VERSION = "--version"
_SAYS_VERSION = re.compile(r"--?version(=.*)?")
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class GoFlags(click.Command):
    """A command whose arguments are read elsewhere, all of them; its options are there for help alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing and any(one in _HELP for one in args):
            click.echo(ctx.get_help())
            ctx.exit()
        ctx.params["arguments"] = tuple(args)
        return []

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Environment, each also with CONFIG_ before it, which wins"):
            formatter.write_dl(list(_variables()))


def _variables() -> Iterator[tuple[str, str]]:
    for field in fields(WebhookSettings):
        if variable := field.metadata["variable"]:
            yield variable, _meaning(field)


def _meaning(field: Field[Any]) -> str:
    meaning = str(field.metadata["meaning"])
    return f"{meaning[0].upper()}{meaning[1:]}."


def _options() -> Iterator[click.Parameter]:
    for field in fields(WebhookSettings):
        if flag := field.metadata["flag"]:
            switch = field.type is bool
            default = str(field.default).lower() if switch else str(field.default)
            # What a switch is without being named is told only of those that have to be turned off.
            shown = f"  [default: {default}]" if default not in ("", "false") else ""
            yield click.Option(
                [flag],
                metavar="" if switch else "N" if field.type is float else "TEXT",
                is_flag=switch,
                expose_value=False,
                help=_meaning(field) + shown,
            )
    yield click.Option(
        [_VERSION],
        is_flag=True,
        expose_value=False,
        help="Print what this is made of, as one line of JSON.",
    )


@click.command(
    cls=GoFlags,
    params=list(_options()),
    context_settings={"help_option_names": ["--help"]},
)
def command(arguments: tuple[str, ...]) -> None:
    """Run the admission webhook for a cluster.

    Flags are written with one dash or two, their value after = or as the next argument, a switch's after =
    alone; an argument that is no flag is refused. It speaks to the cluster it runs in, or to that of
    --kubeconfig. /readyz says what it waits for, SIGTERM lets it finish, a second one ends it at once.
    """
    from podpass.cli.options import environ
    from podpass.settings.flags import parse_flags, parse_switch

    asked, _ = parse_flags(arguments, {**_known(), _VERSION: True})
    if parse_switch(_VERSION, asked.get(_VERSION, "false")):
        click.echo(version(environ()))
        return
    with _no_authorities():
        from podpass.servers.webhook.webhook import run

    flags = [one for one in arguments if not _SAYS_VERSION.fullmatch(one)]
    run(WebhookSettings.from_environ(environ(), flags), environ())


@contextmanager
def _no_authorities() -> Iterator[None]:
    """Hide the system's authorities: the HTTP client reads them as it is imported, and keeps two megabytes.

    Nobody here asks it about them. An API server is known by its own authority, and whoever needs the
    system's reads them then.
    """
    environ = os.environ  # noqa: TID251 OpenSSL takes them from nowhere else
    before = {name: environ.get(name) for name in _AUTHORITIES}
    environ.update(dict.fromkeys(_AUTHORITIES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del environ[name]
            else:
                environ[name] = value


def _known() -> dict[str, bool]:
    return {
        field.metadata["flag"]: field.type is bool
        for field in fields(WebhookSettings)
        if field.metadata["flag"]
    }


def version(environ: Mapping[str, str]) -> str:
    """Say what this is made of, in the reference's words; `goVersion` is the interpreter's."""
    machine = platform.machine()
    return json.dumps(
        {
            "buildVersion": f"v{__version__}",
            "gitCommit": environ.get("PODPASS_BUILD_COMMIT") or "unknown",
            "buildDate": environ.get("PODPASS_BUILD_DATE") or "unknown",
            "goVersion": f"python{platform.python_version()}",
            "platform": f"{platform.system().lower()}/{_MACHINES.get(machine, machine)}",
        },
        separators=(",", ":"),
    )
