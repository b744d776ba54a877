"""Durable SQL storage: SQLite in WAL mode with full sync, or PostgreSQL for several replicas.

Statements are SQLAlchemy Core that both databases accept. When a write returns, it is on the disk.
"""

from podpass.database.database import Database
from podpass.database.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseFailed,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUncertain,
    DatabaseUnusable,
    UnstorableValue,
    translate_driver_errors,
)
from podpass.database.migrate import MigrationChain
from podpass.database.prepared import PreparedStatement
from podpass.database.row_validation import (
    DECODE_ERRORS,
    CorruptRowError,
    RowCheck,
    collecting_errors,
    corrupt_row,
    decode_full_page,
    decode_rows,
    decoding_row,
    fetch_first,
    fetch_page,
    row_decoder,
)

__all__ = [
    "DECODE_ERRORS",
    "CorruptRowError",
    "Database",
    "DatabaseBusy",
    "DatabaseDamaged",
    "DatabaseFailed",
    "DatabaseFull",
    "DatabaseReadOnly",
    "DatabaseUncertain",
    "DatabaseUnusable",
    "MigrationChain",
    "PreparedStatement",
    "RowCheck",
    "UnstorableValue",
    "collecting_errors",
    "corrupt_row",
    "decode_full_page",
    "decode_rows",
    "decoding_row",
    "fetch_first",
    "fetch_page",
    "row_decoder",
    "translate_driver_errors",
]
