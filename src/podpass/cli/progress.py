"""Progress of a starting instance: a live table on a terminal, one line per part elsewhere."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, str], None]


@contextmanager
def show_progress() -> Iterator[Progress]:
    """Show progress on stderr; a call with an empty part ends the live table early."""
    if sys.stderr.isatty():
        with _live_table() as progress:
            yield progress
    else:
        yield _print_line


def _print_line(part: str, detail: str) -> None:
    if detail:
        print(f"{part}: {detail}", file=sys.stderr, flush=True)  # noqa: T201 message to stderr


@contextmanager
def _live_table() -> Iterator[Progress]:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))  # noqa: TID251 read for the terminal only
    parts: dict[str, str] = {}

    def build_table() -> Table:
        table = Table.grid(padding=(0, 2))
        for part, detail in parts.items():
            mark = "[green]✓[/]" if detail else "[yellow]…[/]"
            table.add_row(mark, part, f"[dim]{detail}[/]" if detail else "starting")
        return table

    try:
        with Live(build_table(), console=console, auto_refresh=False) as live:

            def progress(part: str, detail: str) -> None:
                if not part:
                    live.stop()
                    return
                parts[part] = detail
                live.update(build_table(), refresh=True)

            yield progress
    finally:
        # An interrupt while `Live` starts, or ends, leaves the cursor of the terminal hidden.
        console.show_cursor()
