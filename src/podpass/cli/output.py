"""Output of commands: JSON, YAML or a table on stdout, messages on stderr."""

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import click

Row = Mapping[str, Any]

_NOTICE_SECONDS = 3.0
_GAP = "   "
_MIN_WIDTH = 8

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_FORMATS = ["table", "json", "yaml"]


def output_option(default: str = "table", *others: str) -> Decorator:
    """Add the option `-o`, the output format."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([*dict.fromkeys([default, *others])] if others else _FORMATS),
        default=default,
        show_default=True,
        help="Output format.",
    )


def print_output(value: Any, form: str, columns: Mapping[str, str] | None = None) -> None:
    """Print a value on stdout as JSON, YAML or a table.

    For `table`, `value` is a list of rows and `columns` maps each heading to a member of a row.
    """
    if form == "json":
        click.echo(to_json(value, indent=2))
    elif form == "yaml":
        click.echo(_to_yaml(value), nl=False)
    else:
        click.echo(table(value, columns or {}), nl=False)


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON in which control and direction characters are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.replace("\n", "").isprintable():
        return text
    # Outside strings, JSON has no other character that is not printable.
    return "".join(
        char if char.isprintable() or char == "\n" else _escape_in_json(char) for char in text
    )


def _escape_in_json(char: str) -> str:
    return "\\u007f" if char == "\x7f" else json.dumps(char)[1:-1]  # JSON permits DEL in a string


def _to_yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    if text.replace("\n", "").isprintable():
        return text
    # YAML does not escape U+0085 and direction characters.
    escaped: str = yaml.safe_dump(value, sort_keys=False)
    return escaped


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """Format rows as a table with headings, columns three spaces apart, as kubectl does."""
    lines = [list(columns)]
    lines += [[format_cell(row.get(member)) for member in columns.values()] for row in rows]
    return align(lines)


def align(lines: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Align columns with spaces, wrap cells to the width or to COLUMNS, and escape control characters."""
    lines = [[escape_unprintable(cell) for cell in line] for line in lines]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))] if lines else []
    if (total := width or columns_variable()) is not None:
        widths = fit_widths(widths, total - len(_GAP) * (len(widths) - 1))
    text = ""
    for line in lines:
        wrapped = [_wrap(cell, width) for cell, width in zip(line, widths, strict=True)]
        for row in zip_longest(*wrapped, fillvalue=""):
            padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            text += _GAP.join(padded).rstrip() + "\n"
    return text


def columns_variable() -> int | None:
    """Return COLUMNS. Tables are not wrapped to a terminal: an id in two lines could not be copied."""
    import os

    given = os.environ.get("COLUMNS", "")  # noqa: TID251 read for the terminal only
    return int(given) if given.isdecimal() and int(given) > 0 else None


def text_width() -> int | None:
    """Return the width for sentences: COLUMNS, or that of the terminal; None if stdout is neither."""
    import os

    try:
        return columns_variable() or os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def fit_widths(widths: Sequence[int], total: int) -> list[int]:
    """Narrow the widest columns until all columns together have `total` characters."""
    fitted = list(widths)
    while sum(fitted) > total and max(fitted) > _MIN_WIDTH:
        widest = max(fitted)
        least = max(_MIN_WIDTH, widest - (sum(fitted) - total), _next_width(fitted))
        fitted[fitted.index(widest)] = least
    return fitted


def _next_width(widths: Sequence[int]) -> int:
    """Return the width of the second widest column; one less if several are the widest."""
    widest = max(widths)
    if widths.count(widest) > 1:
        return widest - 1
    return max((width for width in widths if width < widest), default=0)


def _wrap(cell: str, width: int) -> list[str]:
    if len(cell) <= width:
        return [cell]
    import textwrap

    return textwrap.wrap(cell, width, break_on_hyphens=False) or [""]


def wrap_text(text: str, margin: int = 0) -> str:
    """Wrap a paragraph to the terminal, without the columns of a margin."""
    width = text_width()
    return text if width is None else "\n".join(_wrap(text, max(width - margin, _MIN_WIDTH)))


def escape_unprintable(text: str) -> str:
    """Return the text as JSON if it contains control or direction characters, else unchanged."""
    return text if text.isprintable() else to_json(text)


def format_cell(value: object) -> str:
    """Format a value for a table: `-` for none, yes or no, a list with commas."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value) or "-"
    return str(value)


def print_message(text: str) -> None:
    """Print a message to stderr."""
    from podpass.cli.invocation import escape_controls, localize

    click.echo(escape_controls(localize(text)), err=True)


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
    """Print a message and a hint for each row that a list skipped, and for each damaged file."""
    for row in skipped:
        subject = "podpass" if "file" in row else "skipped"
        print_message(f"{subject}: {row['message']}\n  {row['hint']}")
