"""Output of commands: JSON, YAML or a table on stdout, messages on stderr."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

Row = Mapping[str, Any]

_NOTICE_SECONDS = 3.0


def print_output(value: Any, form: str, columns: Mapping[str, str] | None = None) -> None:
    """Print a value on stdout as JSON, YAML or a table.

    Shapes:  for `table`, `value` is a list of rows and `columns` maps each heading to a member of a row.
    """
    if form == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    elif form == "yaml":
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(table(value, columns or {}), nl=False)


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Format rows as a table with headings, columns three spaces apart, as kubectl does."""
    lines = [list(columns)]
    lines += [[_cell(row.get(member)) for member in columns.values()] for row in rows]
    return align(lines)


def align(lines: Sequence[Sequence[str]]) -> str:
    """Align columns with spaces, and escape cells that contain control characters."""
    lines = [[escape_unprintable(cell) for cell in line] for line in lines]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))] if lines else []
    text = ""
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        text += "   ".join(padded).rstrip() + "\n"
    return text


def escape_unprintable(text: str) -> str:
    """Return the text as JSON if it contains control or direction characters, else unchanged."""
    return text if text.isprintable() else json.dumps(text)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value) or "-"
    return str(value)


def print_message(text: str) -> None:
    """Print a message to stderr."""
    click.echo(text, err=True)


@contextmanager
def slow_notice(text: str) -> Iterator[None]:
    """Print the text once if the body of the context takes longer than three seconds."""
    timer = threading.Timer(_NOTICE_SECONDS, print_message, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def print_skipped_rows(skipped: Sequence[Row]) -> None:
    """Print a message and a hint for each row that a list skipped because it cannot be read."""
    for row in skipped:
        print_message(f"skipped: {row['message']}\n  {row['hint']}")
