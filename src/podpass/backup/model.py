"""Shapes of a backup: what is in the file, by store, table and part.

The file is a gzipped tar: `podpass-backup` with the format's number, then the parts, then `manifest.json`,
which names each of them with its length and its digest. Rows are JSON arrays, one a line.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from podpass.crypto import jose
from podpass.errors import Error

FORMAT = 1
BEGIN, MANIFEST = "podpass-backup", "manifest.json"
# Told of a table, and how many of its rows are through.
Progress = Callable[[str, int], None]

_STEP = r"[a-z0-9][a-z0-9_.-]{0,59}"
# What a part may be called: nothing of it can lead out of a folder.
_ROWS = re.compile(r"rows/([a-z]{1,20})/([a-z_]{1,40})/\d{6}\.jsonl")
_FILE = re.compile(rf"files/((?:{_STEP}/){{0,2}}{_STEP})/\d{{6}}")


class BackupUnfit(Error):
    """A file is no backup, is damaged, or is of a podpass that this one cannot read."""

    code = "backup_file_unfit"
    hint = "take another backup; nothing was changed"


class BackupRefused(Error):
    """A backup cannot be taken from here, or restored to here, as things stand."""

    code = "backup_refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the file: some rows of a table, or a piece of a file."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table: the columns, in the order of a row's values, and how many rows."""

    columns: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """One store: the revision of its tables, and the tables in an order in which they can be filled."""

    revision: str
    tables: Mapping[str, Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a backup holds.

    Shapes:  `created` in RFC 3339; `sealing` are fingerprints of the keys that values are sealed with, by
             file; `instance` the facts of a local instance, None for a database by itself.
    """

    podpass: str
    created: str
    stores: Mapping[str, Store]
    parts: tuple[Part, ...] = ()
    sealing: Mapping[str, str] = field(default_factory=dict)
    instance: Mapping[str, str] | None = None

    @property
    def rows(self) -> dict[str, int]:
        """Count rows by table."""
        return {
            name: table.rows for one in self.stores.values() for name, table in one.tables.items()
        }

    @property
    def files(self) -> list[str]:
        """Name the files that come along."""
        return sorted({found[1] for part in self.parts if (found := _FILE.fullmatch(part.name))})


def table_of(part: str) -> tuple[str, str] | None:
    """Tell of which store and table a part holds rows."""
    found = _ROWS.fullmatch(part)
    return (found[1], found[2]) if found else None


def file_of(part: str) -> str | None:
    """Tell of which file a part is a piece."""
    found = _FILE.fullmatch(part)
    return found[1] if found else None


def written(manifest: Manifest) -> dict[str, Any]:
    """Write a manifest as JSON has it."""
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


def read(text: bytes) -> Manifest:
    """Read a manifest.

    Errors:  BackupUnfit.
    """
    try:
        raw = jose.loads_object(text)
        return Manifest(
            podpass=str(raw["podpass"]),
            created=str(raw["created"]),
            stores={str(name): _store(one) for name, one in raw["stores"].items()},
            parts=tuple(Part(**part) for part in raw["parts"]),
            sealing={str(name): str(value) for name, value in raw["sealing"].items()},
            instance=raw["instance"] and {str(n): str(v) for n, v in raw["instance"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, Error) as exc:
        raise BackupUnfit("the backup's manifest cannot be read") from exc


def _store(raw: Mapping[str, Any]) -> Store:
    tables = {
        str(name): Table(columns=tuple(map(str, one["columns"])), rows=int(one["rows"]))
        for name, one in raw["tables"].items()
    }
    return Store(revision=str(raw["revision"]), tables=tables)
