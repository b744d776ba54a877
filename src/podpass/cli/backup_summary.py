"""Output of `podpass backup` and `podpass restore`: progress and a summary of the file."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podpass.cli.output import print_message, print_output

if TYPE_CHECKING:
    from podpass.backup.model import Manifest

_EVERY_SECONDS = 2.0
_COLUMNS = {"STORE": "store", "TABLE": "table", "ROWS": "rows"}


def table_progress() -> Callable[[str, int], None]:
    """Return a progress callback that prints a line at most every two seconds."""
    printed = time.monotonic()

    def report(table: str, rows: int) -> None:
        nonlocal printed
        if time.monotonic() - printed >= _EVERY_SECONDS:
            printed = time.monotonic()
            print_message(f"{table}: {rows:,} rows")

    return report


def format_size(count: int) -> str:
    """Format a number of bytes with the largest unit that keeps it at least 1."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def print_summary(file: Path, manifest: "Manifest", form: str) -> None:
    """Print the contents of a backup: row counts as a table, or all details as JSON or YAML."""
    if form == "table":
        rows = [
            {"store": store, "table": table, "rows": entry.rows}
            for store, content in manifest.stores.items()
            for table, entry in content.tables.items()
        ]
        print_output(rows, form, _COLUMNS)
    else:
        print_output(_summary(file, manifest), form)


def _summary(file: Path, manifest: "Manifest") -> dict[str, Any]:
    return {
        "file": str(file.absolute()),
        "bytes": file.stat().st_size,
        "podpass": manifest.podpass,
        "created": manifest.created,
        "schemas": {name: store.revision for name, store in manifest.stores.items()},
        "rows": manifest.rows,
        "files": manifest.files,
        "instance": None if manifest.instance is None else dict(manifest.instance),
    }
