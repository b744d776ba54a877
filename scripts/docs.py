"""Write the pages that are made from the program, or from a list in the tests. `--check` only compares."""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from chart_page import chart_page

from podpass import settings
from podpass.cli.commands import cli
from podpass.exchange.errors import catalogue, other_errors

# Who reads each class, and who only builds it.
READERS = {
    "AuthorityProcessSettings": "Read by `podpass authority`, beside those below; by `podpass authority"
    " seed`, `keys` and `rotate` where they name the flag. A list is written with commas, or its flag"
    " given again.",
    "AuthoritySettings": "Read by `podpass authority`. `podpass up` runs the token service with `origins` of"
    " the instance and the defaults for the rest, whatever these flags and variables say.",
    "LocalSettings": "Read by `podpass up`. Every command takes `--data-dir` and its variable.",
    "VaultSettings": "`podpass up` runs the vault with `origins` of the instance and the defaults for"
    " the rest. No flag or variable leads here yet.",
    "WebhookSettings": "Read by `podpass webhook`, flags in Go's syntax. `podpass up` runs the webhook with"
    " the instance's tenant, asks its API for `native_sidecar`, and takes the defaults for the rest; it"
    " reads none of these flags and variables.",
}
# Variables that are no field of a class.
OTHERS = {
    "PODPASS_DEBUG": "any text: an error is printed with its traceback. Read by every command",
    "PODPASS_BUILD_COMMIT": "the commit that `podpass webhook --version` says; set by who builds an image",
    "PODPASS_BUILD_DATE": "the date that `podpass webhook --version` says; set by who builds an image",
    "NO_COLOR": "any text: the picture that `podpass up` draws has no colours",
}

DOCS = Path(__file__).parents[1] / "docs"
MADE = "<!-- made by `make docs`; change the program, not this page -->\n"


def errors_page() -> str:
    """List every AADSTS code, in the order of the checks."""
    lines = [
        "# Errors of the token service\n",
        MADE,
        "The order is that of the checks: the first that fails answers. The text after the number",
        "is ours; number, `error` and HTTP status are Entra's. The cause stands in the instance's log",
        "under the same correlation id. `podpass explain CODE`, and the page that an error's `error_uri`",
        "leads to, say the same.\n",
    ]
    for number, step in enumerate(catalogue.STEPS, start=1):
        rows = [entry for entry in catalogue.TABLE.values() if entry.step == step]
        lines += [f"## {number}. {step}\n"]
        for row in rows:
            lines += [
                f"### {row.name}\n",
                f"> {row.text}\n",
                f"`{row.error}`, HTTP {row.status}.\n",
                f"- Comes about: {row.meaning}",
                f"- What to do: {row.cure}.\n",
            ]
    lines += [
        "## Numbers that only Entra answers\n",
        "They are explained because people paste them; podpass never answers them.\n",
    ]
    for other in other_errors.ELSEWHERE_ROWS:
        lines += [
            f"### AADSTS{other.number}\n",
            f"`{other.error}`.\n",
            f"- Comes about: {other.meaning}",
            f"- What to do: {other.cure}.\n",
        ]
    return "\n".join(lines)


def settings_page() -> str:
    """List the settings of each part, and which process reads them."""
    lines = ["# Settings\n", MADE, "A flag wins over a variable, a variable over the default.\n"]
    for name, kind in sorted(vars(settings).items()):
        if isinstance(kind, type) and name.endswith("Settings"):
            lines += [f"## {name}\n", (kind.__doc__ or "").strip().splitlines()[0] + "\n"]
            lines += [READERS[name] + "\n"]
            lines += ["| setting | flag | variable | default | meaning |", "|---|---|---|---|---|"]
            lines += [
                f"| {row['name']} | {_code(row['flag'])} | {_code(row['variable'])} "
                f"| {_code(row['default'])} | {row['meaning']} |"
                for row in settings.describe(kind)
            ]
            lines.append("")
    lines += ["## Other variables\n", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in OTHERS.items()]
    return "\n".join([*lines, ""])


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def cli_page() -> str:
    """Print the help of every command."""
    lines = ["# Command line\n", MADE]
    for path, command, context in _commands(
        cli, click.Context(cli, info_name="podpass", **cli.context_settings)
    ):
        lines += [f"## {path}\n", "```", command.get_help(context).rstrip(), "```\n"]
    return "\n".join(lines)


def _commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield context.command_path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                inner = click.Context(child, info_name=name, parent=context, terminal_width=100)
                yield from _commands(child, inner)


def attacks_page() -> str:
    """List the attacks that are tried in the tests, and which tests try them."""
    listed = tomllib.loads((DOCS.parent / "tests/vectors/attacks.toml").read_text())
    lines = [
        "# Attacks that are tried\n",
        MADE,
        "What an attacker may send, and the tests that send it. `docs/security.md` says against whom.\n",
    ]
    for group in listed["group"]:
        lines += [f"## {group['number']}. {group['title']}\n", *_tried(group.get("item", []))]
        lines += [f"{group['note']}\n"] if "note" in group else []
    lines += ["## Faults that other projects had to publish\n", *_tried(listed["advisory"])]
    return "\n".join(lines)


def _tried(items: list[dict[str, Any]]) -> Iterator[str]:
    for item in items:
        tests = ", ".join(f"`{test}`" for test in item["tests"])
        yield f"- {item['what']}: {tests}"
    if items:
        yield ""


PAGES = {
    "attacks.md": attacks_page,
    "errors.md": errors_page,
    "settings.md": settings_page,
    "cli.md": cli_page,
    "../charts/podpass/README.md": lambda: chart_page("podpass", MADE),
    "../charts/podpass-authority/README.md": lambda: chart_page("podpass-authority", MADE),
}


def main() -> None:
    """Write the pages, or say which are old."""
    old = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page()
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                old.append(f"docs/{name}")
        else:
            path.write_text(text)
    if old:
        sys.exit(f"old: {', '.join(old)}; ")


if __name__ == "__main__":
    main()
