"""Generate the pages from the program or from lists in the tests. `--check` only compares."""

import collections
import contextlib
import functools
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from chart_page import chart_page
from dashboards import DASHBOARDS, dashboard

from podpass import settings
from podpass.cli.commands import cli
from podpass.diagnose.doctor.checks import CHECKS
from podpass.diagnose.doctor.model import Stage
from podpass.exchange.errors import catalogue

# The commands that read each class, and those that set its fields in code.
READERS = {
    "AuthorityProcessSettings": "Read by `podpass authority`, together with the settings below; `podpass"
    " authority seed`, `keys` and `rotate` read those for which they have a flag. A list is comma-separated,"
    " or its flag is repeated.",
    "AuthoritySettings": "Read by `podpass authority`. `podpass up` ignores these flags and variables: it"
    " sets `origins` and uses the defaults for all other settings.",
    "CloudSettings": "Read by `podpass cloud serve`. The chart `podpass-cloud` sets what a cluster needs.",
    "LocalSettings": "Read by `podpass up`. Every command accepts `--data-dir` and its variable.",
    "ProxyInitSettings": "Read by `podpass proxy-init`, with flags in Go syntax.",
    "ProxySettings": "Read by `podpass proxy`, with flags in Go syntax.",
    "WebhookSettings": "Read by `podpass webhook`, with flags in Go syntax. `podpass up` ignores these flags"
    " and variables: it sets the tenant of the instance, sets `native_sidecar` by the API version, and uses"
    " the defaults for all other settings.",
}
# Variables without a field in a class.
OTHERS = {
    "PODPASS_DEBUG": "any text: print the traceback of an error. Read by every command",
    "PODPASS_BUILD_COMMIT": "commit in the output of `--version`; set in the image build",
    "PODPASS_BUILD_DATE": "date in the output of `--version`; set in the image build",
    "PODPASS_ISSUER_DIR": "key folder of the commands of `podpass issuer`",
    "AZURE_STORAGE_KEY": "account key for a target `azure:` of `podpass issuer`, instead of a sign-in",
    "PODPASS_CLOUD_IDENTITY_HEADERS": "header values of App Service's protocol, as NAME=VALUE, for"
    " `podpass cloud serve --managed-identity-listen`",
    "AZURITE_ACCOUNTS": "accounts and keys of Azurite, as Azurite reads them; read by `podpass up --azurite`",
    "NO_COLOR": "any text: no colours in the progress output of `podpass up`",
}

DOCS = Path(__file__).parents[1] / "docs"
MADE = "<!-- made by `make docs`; change the program, not this page -->\n"


def errors_page() -> str:
    """List every AADSTS code, in the order of the checks."""
    lines = [
        "# Errors of the token service\n",
        MADE,
        "The errors are in the order of the checks: the first check that fails determines the error.",
        "Number, `error` and HTTP status are those of Entra; the text after the number is podpass's own. The",
        "cause is in the log of the instance, under the same correlation ID. `podpass explain CODE` and the",
        "page at an error's `error_uri` show the same texts.\n",
    ]
    for number, step in enumerate(catalogue.STEPS, start=1):
        rows = [entry for entry in catalogue.TABLE.values() if entry.step == step]
        lines += [f"## {number}. {step}\n"]
        for row in rows:
            lines += [
                f"### {row.name}\n",
                f"> {row.text}\n",
                f"`{row.error}`, HTTP {row.status}.\n",
                f"- Cause: {row.cause}",
                f"- Resolution: {row.resolution}.\n",
            ]
    lines += [
        "## Errors that only Entra returns\n",
        "`podpass explain` explains these errors too. podpass never returns them.\n",
    ]
    for other in catalogue.ENTRA_ONLY_ROWS:
        lines += [
            f"### AADSTS{other.number}\n",
            f"`{other.error}`.\n",
            f"- Cause: {other.cause}",
            f"- Resolution: {other.resolution}.\n",
        ]
    return "\n".join(lines)


def settings_page() -> str:
    """List all settings, and the processes that read them."""
    lines = [
        "# Settings\n",
        MADE,
        "A flag overrides a variable, a variable overrides the default.\n",
    ]
    seen: list[dict[str, str]] = []
    for name, kind in sorted(vars(settings).items()):
        if not isinstance(kind, type) or name not in READERS:
            continue
        rows = [row for row in settings.describe(kind) if row["flag"] or row["variable"]]
        again = [_code(row["flag"]) for row in rows if row in seen]
        lines += [f"## {name}\n", (kind.__doc__ or "").strip().splitlines()[0] + "\n"]
        lines += [READERS[name] + (f" Also as above: {', '.join(again)}." if again else "") + "\n"]
        lines += ["| flag | variable | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| {_code(row['flag'])} | {_code(row['variable'])} "
            f"| {_code(row['default'])} | {row['meaning']} |"
            for row in rows
            if row not in seen
        ]
        lines.append("")
        seen += rows
    lines += ["## Other variables\n", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in OTHERS.items()]
    return "\n".join([*lines, ""])


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


# Commands whose options are on the settings page, and the classes there.
CLI_SETTINGS = {
    "podpass up": ("LocalSettings",),
    "podpass webhook": ("WebhookSettings",),
    "podpass proxy": ("ProxySettings",),
    "podpass proxy-init": ("ProxyInitSettings",),
    "podpass authority": ("AuthorityProcessSettings", "AuthoritySettings"),
    "podpass cloud serve": ("CloudSettings",),
}
# The options of each command that signs in to Azure.
AZURE_SIGN_IN = {
    "`--azure-env`",
    "`--subscription-id`",
    "`--auth-method`",
    "`--client-id`",
    "`--client-secret`",
    "`--certificate-path`",
    "`--private-key-path`",
    "`--debug`",
}
# An option that so many commands have with the same text is described once.
COMMON = 4


def cli_page() -> str:
    """Return the page with the help of every command, without what several commands have in common."""
    found = list(_commands(cli, click.Context(cli, info_name="podpass", **cli.context_settings)))
    counts = collections.Counter(
        record
        for _, command, context in found
        for option in command.get_params(context)
        if isinstance(option, click.Option) and (record := option.get_help_record(context))
    )
    common = {record for record, count in counts.items() if count >= COMMON}
    lines = [
        "# Command line\n",
        MADE,
        "Options of several commands. Each command names those that it has, and `--help` shows them too.",
        f"Sign-in to Azure: {', '.join(sorted(AZURE_SIGN_IN))}.\n",
        *(
            f"- `{name}`: {text}"
            for name, text in sorted(common, key=lambda each: (each[0].lstrip("-"), each[1]))
        ),
        "",
    ]
    for path, command, context in found:
        shared = common | _records_above(context)
        text = _own_help(path, command, context, shared)
        lines += [f"## {path}\n", "```", text, "```\n"]
        names = [
            f"`{name}`"
            for option in command.get_params(context)
            if (name := max(option.opts, key=len)) != "--help"
            and option.get_help_record(context) in shared
        ]
        if {*names} >= AZURE_SIGN_IN:
            kept = [name for name in names if name not in AZURE_SIGN_IN]
            names = [*kept, "those of the sign-in to Azure"]
        lines += [f"Also: {', '.join(names)}.\n"] if names else []
        if classes := CLI_SETTINGS.get(path):
            links = ", ".join(f"[{name}](settings.md#{name.lower()})" for name in classes)
            lines += [f"Flags and variables: {links}.\n"]
    return "\n".join(lines)


def _records_above(context: click.Context) -> set[tuple[str, str]]:
    """Return the options of the commands that contain this one."""
    parent, found = context.parent, set()
    while parent is not None:
        found |= {
            record
            for option in parent.command.get_params(parent)
            if (record := option.get_help_record(parent))
        }
        parent = parent.parent
    return found


def _own_help(
    path: str, command: click.Command, context: click.Context, shared: set[tuple[str, str]]
) -> str:
    """Return the help of a command without options that the page describes elsewhere."""
    listed = {
        row["flag"]
        for name in CLI_SETTINGS.get(path, ())
        for row in settings.describe(getattr(settings, name))
    }
    with contextlib.ExitStack() as restored:
        for option in command.get_params(context):
            elsewhere = option.get_help_record(context) in shared or listed.intersection(
                option.opts
            )
            if isinstance(option, click.Option) and elsewhere:
                restored.callback(setattr, option, "hidden", option.hidden)
                option.hidden = True
        text = command.get_help(context)
    if listed:
        text = re.sub(r"\n\nEnvironment variables.*?(?=\n\n[A-Z]|\Z)", "", text, flags=re.DOTALL)
    if context.parent is not None:
        # The sections of these commands follow.
        text = re.sub(r"\n\nCommands:\n.*", "", text, flags=re.DOTALL)
    return text.rstrip().removeprefix(f"Usage: {path} [OPTIONS]\n").lstrip("\n")


def _commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield context.command_path, command, context
    # The commands of `podpass azwi` are on the page already, without this word.
    if isinstance(command, click.Group) and context.info_name != "azwi":
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                inner = click.Context(child, info_name=name, parent=context, terminal_width=100)
                yield from _commands(child, inner)


def attacks_page() -> str:
    """List the groups of attacks that the tests try, and the vulnerabilities of other projects."""
    listed = tomllib.loads((DOCS.parent / "tests/vectors/attacks.toml").read_text())
    lines = [
        "# Attacks in the tests\n",
        MADE,
        "How many attacks of each kind the tests try. `tests/vectors/attacks.toml` lists each with its",
        "tests; [security.md](../security.md) describes the attackers.\n",
        "| | kind | attacks |",
        "|---|---|---|",
        *(
            f"| {group['number']} | {group['title']} | {len(group.get('item', [])) or '-'} |"
            for group in listed["group"]
        ),
        "",
        *(
            f"- Kind {group['number']}: {' '.join(group['note'].split())}"
            for group in listed["group"]
            if "note" in group
        ),
        "\n## Published vulnerabilities of other projects\n",
        *(f"- {item['what']}" for item in listed["advisory"]),
        "",
    ]
    return "\n".join(lines)


STATUSES = {"yes": "Works", "differs on purpose": "Differs on purpose", "not yet": "Missing"}


def parity_page() -> str:
    """List the features, what differs and what is missing, a line each."""
    listed = tomllib.loads((DOCS.parent / "tests/vectors/features.toml").read_text())
    lines = [
        "# What works and what does not\n",
        MADE,
        "Compared with azure-workload-identity 1.6, Microsoft's documentation, and Kubernetes.",
        "`tests/vectors/features.toml` has the tests that prove each line.\n",
    ]
    for section in listed["section"]:
        lines += [f"## {section['title']}\n"]
        for status, title in STATUSES.items():
            texts = [each["text"] for each in section["line"] if each["status"] == status]
            if texts:
                lines += [f"**{title}**\n", *(f"- {text}" for text in texts), ""]
    return "\n".join(lines)


def checks_page() -> str:
    """List the checks of `podpass doctor`, in the order in which it makes them."""
    lines = [
        "# Checks of podpass doctor\n",
        MADE,
        "`podpass doctor` makes the checks in this order. The first finding is the first problem on the",
        "token's path. A check is named after the problem that it finds; the text says what must hold.",
        "How to use the command: [develop/doctor.md](develop/doctor.md).\n",
    ]
    for stage in Stage:
        rows = [each for each in CHECKS if each.stage is stage]
        if rows:
            lines += [f"## {stage}\n", *(f"- `{each.id}`: {each.meaning}" for each in rows)]
            lines.append("")
    return "\n".join(lines)


PACK = DOCS.parent / "deploy/observability"
# The alerts that each chart installs, and the dashboards.
OF_A_CHART = {"podpass": ("webhook", "sidecar"), "podpass-authority": ("authority",)}


def alerts(*names: str) -> str:
    """Return the groups of alerts of some files, as Prometheus reads them."""
    texts = [(PACK / f"alerts/{name}.yaml").read_text().partition("groups:\n")[2] for name in names]
    return "".join(["# Made by `make docs` from deploy/observability/alerts.\ngroups:\n", *texts])


def prometheus_rule() -> str:
    """Return all alerts as PrometheusRules, for `kubectl apply`."""
    head = "# Made by `make docs` from deploy/observability/alerts.\n"
    return head + "---\n".join(
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\n"
        f"metadata:\n  name: podpass-{name}\nspec:\n"
        + textwrap.indent(alerts(name).partition("\n")[2], "  ")
        for name in DASHBOARDS
    )


def pack() -> dict[str, Callable[[], str]]:
    """Return the files of the observability pack, and the copies in the charts."""
    files: dict[str, Callable[[], str]] = {
        "../deploy/observability/prometheusrule.yaml": prometheus_rule
    }
    for name in DASHBOARDS:
        files[f"../deploy/observability/dashboards/{name}.json"] = functools.partial(
            dashboard, name
        )
    for chart, names in OF_A_CHART.items():
        files[f"../charts/{chart}/files/alerts.yaml"] = functools.partial(alerts, *names)
        for name in names:
            copy = f"../charts/{chart}/files/dashboards/{name}.json"
            files[copy] = functools.partial(dashboard, name, indent=None)
    return files


PAGES = {
    **pack(),
    "contribute/attacks.md": attacks_page,
    "checks.md": checks_page,
    "errors.md": errors_page,
    "parity.md": parity_page,
    "settings.md": settings_page,
    "cli.md": cli_page,
    "../charts/podpass/README.md": lambda: chart_page("podpass", MADE),
    "../charts/podpass-authority/README.md": lambda: chart_page("podpass-authority", MADE),
    "../charts/podpass-cloud/README.md": lambda: chart_page("podpass-cloud", MADE),
}


def main() -> None:
    """Write the pages, or list the outdated ones."""
    outdated = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                outdated.append(f"docs/{name}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    if outdated:
        sys.exit(f"outdated: {', '.join(outdated)}; ")


if __name__ == "__main__":
    main()
