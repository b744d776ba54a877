"""The picture of an instance that starts: alive on a terminal, one line a part anywhere else."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, str], None]


@contextmanager
def drawing() -> Iterator[Progress]:
    """Draw what is told, on stderr; an empty part ends the picture before the context does."""
    if sys.stderr.isatty():
        with _live() as progress:
            yield progress
    else:
        yield _plain


def _plain(part: str, where: str) -> None:
    if where:
        print(f"{part}: {where}", file=sys.stderr, flush=True)  # noqa: T201 talk


@contextmanager
def _live() -> Iterator[Progress]:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    console = Console(stderr=True, no_color=bool(os.environ.get("NO_COLOR")))  # noqa: TID251 edge
    parts: dict[str, str] = {}

    def picture() -> Table:
        table = Table.grid(padding=(0, 2))
        for part, where in parts.items():
            mark = "[green]✓[/]" if where else "[yellow]…[/]"
            table.add_row(mark, part, f"[dim]{where}[/]" if where else "starting")
        return table

    with Live(picture(), console=console, auto_refresh=False) as live:

        def progress(part: str, where: str) -> None:
            if not part:
                live.stop()
                return
            parts[part] = where
            live.update(picture(), refresh=True)

        yield progress
