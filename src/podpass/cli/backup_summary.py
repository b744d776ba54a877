"""What `podpass backup` and `podpass restore` say: how far they are, and what the file holds."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podpass.cli.output import emit, say

if TYPE_CHECKING:
    from podpass.backup.model import Manifest

_EVERY_SECONDS = 2.0
_COLUMNS = {"STORE": "store", "TABLE": "table", "ROWS": "rows"}


def progress() -> Callable[[str, int], None]:
    """Give what is told of each table; it speaks when there is something to wait for."""
    spoken = time.monotonic()

    def told(table: str, rows: int) -> None:
        nonlocal spoken
        if time.monotonic() - spoken >= _EVERY_SECONDS:
            spoken = time.monotonic()
            say(f"{table}: {rows:,} rows")

    return told


def print_summary(file: Path, manifest: "Manifest", form: str) -> None:
    """Print what a backup holds: a table for people, everything for programs."""
    if form == "table":
        rows = [
            {"store": store, "table": table, "rows": one.rows}
            for store, held in manifest.stores.items()
            for table, one in held.tables.items()
        ]
        emit(rows, form, _COLUMNS)
    else:
        emit(_summary(file, manifest), form)


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
