"""What a database holds, row by row, sorted by lanes: two lanes that did the same look the same."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, String, Table, cast, create_engine, or_, select
from sqlalchemy.engine import make_url

from podpass.directory.store.schema import audit_entries, metadata
from tests.soak.lane import MARK, MARKED

# Made anew each time: moments, and the id under which a vault keeps its secrets.
_MOMENTS = {"created", "time", "serial", "uid", "deleted", "purge_on"}
Picture = Mapping[str, Sequence[str]]


def engine_url(url: str) -> str:
    """Give the address as SQLAlchemy takes it."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def picture(url: str) -> Picture:
    """Read every table; give the rows of each lane by its mark, which is left out of them.

    It reads the tables themselves: what no API would show, a credential without its identity, is seen here.
    """
    found: dict[str, list[str]] = defaultdict(list)
    engine = create_engine(engine_url(url))
    try:
        with engine.connect() as connection:
            for table in metadata.sorted_tables:
                _read(connection, table, found)
    finally:
        engine.dispose()
    return found


def _read(connection: Connection, table: Table, found: dict[str, list[str]]) -> None:
    # The audit in the order in which it was written, everything else in any.
    order = [audit_entries.c.serial] if table is audit_entries else []
    ours = [cast(column, String).contains(MARKED) for column in table.columns]
    rows: dict[str, list[str]] = defaultdict(list)
    query = select(table).where(or_(*ours)).order_by(*order)
    for row in connection.execute(query).mappings():
        text = f"{table.name} { ({k: _shown(k, v) for k, v in row.items()}) }"
        for mark in set(re.findall(MARK, text)):
            rows[mark].append(text.replace(mark, "LANE"))
    for mark, texts in rows.items():
        found[mark] += texts if order else sorted(texts)


def _shown(column: str, value: object) -> object:
    return value is not None if column in _MOMENTS else value


def difference(seen: Sequence[str], wanted: Sequence[str]) -> str:
    """Say by what two pictures of a lane differ."""
    missing = [line for line in wanted if line not in seen]
    added = [line for line in seen if line not in wanted]
    shown = [f"lost: {line[:300]}" for line in missing] + [f"left: {line[:300]}" for line in added]
    return "\n".join(shown[:20]) or "the same rows in another order"
