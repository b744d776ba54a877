"""Data types of a backup: the file's content by store, table and part.

The file is a gzipped tar: `podpass-backup` with the format number, then the parts, then `manifest.json`,
which lists each part with its length and digest. Rows are JSON arrays, one on each line.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from podpass.crypto import jose
from podpass.errors import Error

FORMAT = 1
BEGIN, MANIFEST = "podpass-backup", "manifest.json"
# A callback that receives a table and the number of its processed rows.
Progress = Callable[[str, int], None]

_SEGMENT = r"[a-z0-9][a-z0-9_.-]{0,59}"
# Valid names of parts. No valid name leaves its directory.
_ROWS = re.compile(r"rows/([a-z]{1,20})/([a-z_]{1,40})/\d{6}\.jsonl")
_FILE = re.compile(rf"files/((?:{_SEGMENT}/){{0,2}}{_SEGMENT})/\d{{6}}")


class InvalidBackupFile(Error):
    """A file is not a backup, is damaged, or is of an unsupported version of podpass."""

    code = "invalid_backup_file"
    hint = "use another backup; nothing was changed"


class BackupRefused(Error):
    """A backup cannot be created or restored in the current state."""

    code = "backup_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the file: some rows of a table, or a piece of a file."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: its columns, in the order of a row's values, and its row count."""

    columns: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One store: its revision, and its tables in an order that satisfies foreign keys."""

    revision: str
    tables: Mapping[str, Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of a backup.

    `created` in RFC 3339; `sealing` holds the fingerprints of the sealing keys, by file; `instance`
    identifies a local instance, None for a database without one.
    """

    podpass: str
    created: str
    stores: Mapping[str, Store]
    parts: tuple[Part, ...] = ()
    sealing: Mapping[str, str] = field(default_factory=dict)
    instance: Mapping[str, str] | None = None

    @property
    def rows(self) -> dict[str, int]:
        """Return the row counts by table."""
        return {
            name: table.rows for one in self.stores.values() for name, table in one.tables.items()
        }

    @property
    def files(self) -> list[str]:
        """Return the names of the files in the backup."""
        return sorted({found[1] for part in self.parts if (found := _FILE.fullmatch(part.name))})


def table_of(part: str) -> tuple[str, str] | None:
    """Return the store and table of a part with rows, or None."""
    found = _ROWS.fullmatch(part)
    return (found[1], found[2]) if found else None


def file_of(part: str) -> str | None:
    """Return the file name of a part of a file, or None."""
    found = _FILE.fullmatch(part)
    return found[1] if found else None


def to_json(manifest: Manifest) -> dict[str, Any]:
    """Convert a manifest to JSON values."""
    return {
        "podpass": manifest.podpass,
        "created": manifest.created,
        "stores": {
            name: {
                "revision": store.revision,
                "tables": {
                    table: {"columns": list(one.columns), "rows": one.rows}
                    for table, one in store.tables.items()
                },
            }
            for name, store in manifest.stores.items()
        },
        "sealing": dict(manifest.sealing),
        "instance": None if manifest.instance is None else dict(manifest.instance),
        "parts": [{"name": p.name, "size": p.size, "sha256": p.sha256} for p in manifest.parts],
    }


def parse_manifest(text: bytes) -> Manifest:
    """Parse a manifest. Raises InvalidBackupFile."""
    try:
        raw = jose.loads_object(text)
        return Manifest(
            podpass=str(raw["podpass"]),
            created=str(raw["created"]),
            stores={str(name): _parse_store(one) for name, one in raw["stores"].items()},
            parts=tuple(Part(**part) for part in raw["parts"]),
            sealing={str(name): str(value) for name, value in raw["sealing"].items()},
            instance=raw["instance"] and {str(n): str(v) for n, v in raw["instance"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, Error) as exc:
        raise InvalidBackupFile("the backup's manifest cannot be read") from exc


def _parse_store(raw: Mapping[str, Any]) -> Store:
    tables = {
        str(name): Table(columns=tuple(map(str, one["columns"])), rows=int(one["rows"]))
        for name, one in raw["tables"].items()
    }
    return Store(revision=str(raw["revision"]), tables=tables)
