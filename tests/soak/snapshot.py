"""The rows of a database, grouped by lane: two lanes that made the same changes have equal rows."""

import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, Engine, String, Table, cast, create_engine, or_, select, text
from sqlalchemy.engine import make_url

from podpass.directory.store.schema import audit_entries, metadata
from tests.soak.lane import LANE_SUFFIX, SUFFIX_START

# Columns whose values differ between equal changes: times, and the id under which a vault stores its secrets.
_MOMENTS = {"created", "time", "serial", "uid", "deleted", "purge_on"}
# The other sessions of this database. PostgreSQL ends one only when it notices that its client is gone.
_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)
Snapshot = Mapping[str, Sequence[str]]


def engine_url(url: str) -> str:
    """Return the database URL with the driver that SQLAlchemy needs."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def take_snapshot(url: str) -> Snapshot:
    """Read every table; return the rows of each lane by the lane's suffix, which is removed from the rows.

    It reads the tables directly, so it also finds rows that no API shows, such as a credential without an
    identity.
    """
    found: dict[str, list[str]] = defaultdict(list)
    engine = create_engine(engine_url(url))
    try:
        if engine.dialect.name == "postgresql":
            _wait_for_killed_writer(engine)
        with engine.connect() as connection:
            for table in metadata.sorted_tables:
                _read(connection, table, found)
    finally:
        engine.dispose()
    return found


def _wait_for_killed_writer(engine: Engine) -> None:
    """Wait until the sessions of a killed writer have ended: one may still commit its last statement."""
    end = time.monotonic() + 60
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.execute(_OTHERS).scalar_one():
            if time.monotonic() > end:
                raise TimeoutError("a session of the killed writer is open after 60 s")
            time.sleep(0.02)


def _read(connection: Connection, table: Table, found: dict[str, list[str]]) -> None:
    # Audit entries keep the order in which they were written; other rows are sorted.
    order = [audit_entries.c.serial] if table is audit_entries else []
    ours = [cast(column, String).contains(SUFFIX_START) for column in table.columns]
    rows: dict[str, list[str]] = defaultdict(list)
    query = select(table).where(or_(*ours)).order_by(*order)
    for row in connection.execute(query).mappings():
        shown = f"{table.name} { ({k: _shown(k, v) for k, v in row.items()}) }"
        for suffix in set(re.findall(LANE_SUFFIX, shown)):
            rows[suffix].append(shown.replace(suffix, "LANE"))
    for suffix, texts in rows.items():
        found[suffix] += texts if order else sorted(texts)


def _shown(column: str, value: object) -> object:
    return value is not None if column in _MOMENTS else value


def describe_difference(seen: Sequence[str], wanted: Sequence[str]) -> str:
    """Return the rows by which two snapshots of a lane differ."""
    missing = [line for line in wanted if line not in seen]
    added = [line for line in seen if line not in wanted]
    shown = [f"lost: {line[:300]}" for line in missing] + [
        f"unexpected: {line[:300]}" for line in added
    ]
    return "\n".join(shown[:20]) or "the same rows in another order"
