"""What commands print: JSON and YAML for programs, columns for people."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

Row = Mapping[str, Any]

_SILENT_SECONDS = 3.0


def emit(value: Any, form: str, columns: Mapping[str, str] | None = None) -> None:
    """Print a value on stdout.

    Shapes:  for `table`, `value` is a list of rows and `columns` maps a heading to a row's member.
    """
    if form == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    elif form == "yaml":
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo(table(value, columns or {}), nl=False)


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Align rows under their headings, three spaces apart, as kubectl does."""
    lines = [list(columns)]
    lines += [[_cell(row.get(member)) for member in columns.values()] for row in rows]
    return align(lines)


def align(lines: Sequence[Sequence[str]]) -> str:
    """Pad every column but the last to its widest cell; no cell may reach the terminal's controls."""
    lines = [[plain(cell) for cell in line] for line in lines]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))] if lines else []
    text = ""
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        text += "   ".join(padded).rstrip() + "\n"
    return text


def plain(text: str) -> str:
    """Write a text so that it cannot move the cursor, colour, or turn the order of a line around."""
    return text if text.isprintable() else json.dumps(text)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value) or "-"
    return str(value)


def say(text: str) -> None:
    """Talk to the person at the terminal, on stderr."""
    click.echo(text, err=True)


@contextmanager
def patience(said: str) -> Iterator[None]:
    """Say once what is waited for inside, where it takes long."""
    timer = threading.Timer(_SILENT_SECONDS, say, (said,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def say_left_out(damaged: Sequence[Row]) -> None:
    """Say what is missing in a list, and what to do about it, as the instance tells it beside the list."""
    for row in damaged:
        say(f"left out: {row['message']}\n  {row['hint']}")
