"""Commands with flags in Go syntax, as in azure-workload-identity: webhook, proxy and proxy-init."""

import json
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields
from typing import Any

import click

from podpass import __version__
from podpass.settings.flags import parse_flags, parse_switch

_HELP = ("-h", "-help", "--help")
_VERSION = "--version"
_VERSION_FLAG = re.compile(r"--?version(=.*)?")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class GoFlags(click.Command):
    """A command that passes all arguments on unparsed; its options exist only for `--help`.

    `settings` is the class whose flags and variables the help shows.
    """

    def __init__(
        self,
        name: str | None,
        *,
        settings: type[Any],
        variables: str = "Environment variables",
        **options: Any,
    ) -> None:
        options["params"] = [*(options.get("params") or ()), *_options(settings)]
        super().__init__(name, **options)
        self._settings, self._variables = settings, variables

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing and any(argument in _HELP for argument in args):
            click.echo(ctx.get_help())
            ctx.exit()
        ctx.params["arguments"] = tuple(args)
        return []

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_options(ctx, formatter)
        rows = [
            (field.metadata["variable"], _describe(field))
            for field in fields(self._settings)
            if field.metadata["variable"]
        ]
        with formatter.section(self._variables):
            formatter.write_dl(rows)


def _describe(field: Field[Any]) -> str:
    meaning = str(field.metadata["meaning"])
    return f"{meaning[0].upper()}{meaning[1:]}."


def _options(settings: type[Any]) -> Iterator[click.Parameter]:
    for field in fields(settings):
        if flag := field.metadata["flag"]:
            switch = field.type is bool
            default = str(field.default).lower() if switch else str(field.default)
            # The default of a switch is shown only if it is true.
            shown = f"  [default: {default}]" if default not in ("", "false") else ""
            yield click.Option(
                [flag],
                metavar="" if switch else "N" if field.type in (float, int) else "TEXT",
                is_flag=switch,
                expose_value=False,
                help=_describe(field) + shown,
            )
    yield click.Option(
        [_VERSION],
        is_flag=True,
        expose_value=False,
        help="Print version and build information as one line of JSON.",
    )


def has_version_flag(settings: type[Any], arguments: Sequence[str]) -> bool:
    """Return whether the arguments contain `--version`."""
    known = {f.metadata["flag"]: f.type is bool for f in fields(settings) if f.metadata["flag"]}
    flags, _ = parse_flags(arguments, {**known, _VERSION: True})
    return parse_switch(_VERSION, flags.get(_VERSION, "false"))


def remove_version_flag(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without `--version`."""
    return [argument for argument in arguments if not _VERSION_FLAG.fullmatch(argument)]


def build_version_info(environ: Mapping[str, str]) -> str:
    """Return version and build information as azure-workload-identity; `goVersion` is Python's version."""
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
