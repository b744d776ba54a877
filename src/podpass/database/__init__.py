"""A durable SQL database: SQLite in WAL with full sync, or PostgreSQL for several replicas.

Statements are SQLAlchemy Core and hold to what both understand; what is acknowledged is on the disk.
"""

from podpass.database.database import Database
from podpass.database.errors import (
    DatabaseBusy,
    DatabaseFailed,
    DatabaseFull,
    DatabaseReadOnly,
    DatabaseUncertain,
    DatabaseUnusable,
    ValueUnfit,
    telling,
)
from podpass.database.migrate import Chain
from podpass.database.prepared import Prepared
from podpass.database.row_validation import (
    WRONG,
    RowDamaged,
    Types,
    check_types,
    damaged,
    full_page,
    hearing,
    list_page,
    readable,
    shaping,
)

__all__ = [
    "WRONG",
    "Chain",
    "Database",
    "DatabaseBusy",
    "DatabaseFailed",
    "DatabaseFull",
    "DatabaseReadOnly",
    "DatabaseUncertain",
    "DatabaseUnusable",
    "Prepared",
    "RowDamaged",
    "Types",
    "ValueUnfit",
    "check_types",
    "damaged",
    "full_page",
    "hearing",
    "list_page",
    "readable",
    "shaping",
    "telling",
]
