"""`podpass webhook`: run the admission webhook, with the reference's flags in Go syntax."""

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
_VERSION_FLAG = re.compile(r"--?version(=.*)?")
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class GoFlags(click.Command):
    """A command that passes all arguments on unparsed; its options exist only for `--help`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing and any(argument in _HELP for argument in args):
            click.echo(ctx.get_help())
            ctx.exit()
        ctx.params["arguments"] = tuple(args)
        return []

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Environment variables (CONFIG_NAME overrides NAME)"):
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
            # The default of a switch is shown only if it is true.
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
        help="Print version and build information as one line of JSON.",
    )


@click.command(
    cls=GoFlags,
    params=list(_options()),
    context_settings={"help_option_names": ["--help"]},
)
def command(arguments: tuple[str, ...]) -> None:
    """Run the admission webhook.

    Flags follow Go syntax: one or two dashes, the value after = or as the next argument; a switch takes a
    value only after =. Other arguments are refused. The webhook uses the API server of its own cluster, or
    of --kubeconfig. /readyz names what is missing until it is ready. On SIGTERM it completes requests in
    flight and exits; a second SIGTERM exits immediately.
    """
    from podpass.cli.options import environ
    from podpass.settings.flags import parse_flags, parse_switch

    flags, _ = parse_flags(arguments, {**_known_flags(), _VERSION: True})
    if parse_switch(_VERSION, flags.get(_VERSION, "false")):
        click.echo(version(environ()))
        return
    with _without_system_cas():
        from podpass.servers.webhook.webhook import run

    rest = [argument for argument in arguments if not _VERSION_FLAG.fullmatch(argument)]
    run(WebhookSettings.from_environ(environ(), rest), environ())


@contextmanager
def _without_system_cas() -> Iterator[None]:
    """Hide the system's CA bundle while the HTTP client is imported; loading it would keep 2 MB of memory.

    The webhook does not need it: it verifies the API server with the cluster's CA. Code that needs the
    system's bundle loads it when needed.
    """
    environ = os.environ  # noqa: TID251 OpenSSL reads them from here only
    before = {name: environ.get(name) for name in _CA_VARIABLES}
    environ.update(dict.fromkeys(_CA_VARIABLES, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del environ[name]
            else:
                environ[name] = value


def _known_flags() -> dict[str, bool]:
    return {
        field.metadata["flag"]: field.type is bool
        for field in fields(WebhookSettings)
        if field.metadata["flag"]
    }


def version(environ: Mapping[str, str]) -> str:
    """Return version and build information with the reference's members; `goVersion` is Python's version."""
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
