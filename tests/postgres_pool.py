"""Copies of a PostgreSQL database with tables and no rows; they are emptied, not dropped, after a test."""

from __future__ import annotations

import functools
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.postgres import CLOSE_OTHERS, Server

if TYPE_CHECKING:
    import psycopg

# Without checks of references, so the order of the tables does not matter. The lock waits for the last commit
# of a connection that is being closed. The revisions remain.
_DELETE_ROWS = """
DO $$ DECLARE each text; BEGIN
    SET LOCAL session_replication_role = replica;
    FOR each IN SELECT tablename FROM pg_tables
        WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic\\_%' LOOP
        EXECUTE format('LOCK TABLE %I IN EXCLUSIVE MODE', each);
        EXECUTE format('DELETE FROM %I', each);
    END LOOP;
    FOR each IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' LOOP
        PERFORM setval(format('%I', each)::regclass, 1, false);
    END LOOP;
END $$
"""
# A row of the catalog has the number of the transaction that changed it, and a copy has the same numbers.
_TABLES = """
SELECT string_agg(concat(kind, '.', row, '.', number), ' ' ORDER BY kind, row) FROM (
    SELECT 'class' AS kind, oid::text AS row, xmin AS number FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'constraint', oid::text, xmin FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'column', concat(attrelid, '.', attnum), pg_attribute.xmin
        FROM pg_attribute JOIN pg_class ON attrelid = pg_class.oid
        WHERE relnamespace = 'public'::regnamespace AND attnum > 0
    UNION ALL SELECT 'trigger', pg_trigger.oid::text, pg_trigger.xmin
        FROM pg_trigger JOIN pg_class ON tgrelid = pg_class.oid
        WHERE relnamespace = 'public'::regnamespace
) AS rows
"""


@dataclass
class DatabasePool:
    """Databases with the tables of a template and no rows, for tests that do not create tables."""

    server: Server
    template: str
    _free: list[psycopg.Connection[Any]] = field(default_factory=list)

    def acquire(self) -> psycopg.Connection[Any]:
        """Return the test's own connection to an empty copy."""
        import psycopg

        if self._free:
            return self._free.pop()
        name = f"copy_{secrets.token_hex(6)}"
        self.server.execute(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        return psycopg.connect(self.server.url(name), autocommit=True)

    def release(self, connection: psycopg.Connection[Any]) -> None:
        """Delete the rows for the next test, or drop a copy whose tables or connection a test has changed."""
        import psycopg

        name = connection.info.dbname
        try:
            connection.execute(CLOSE_OTHERS)
            connection.execute(_DELETE_ROWS)
            same = _read_tables(connection) == self._tables
        except psycopg.Error:
            same = False
        if same:
            self._free.append(connection)
        else:
            connection.close()
            self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @functools.cached_property
    def _tables(self) -> object:
        import psycopg

        with psycopg.connect(self.server.url(self.template)) as connection:
            return _read_tables(connection)

    def close(self) -> None:
        """Close the connections of all free copies."""
        for each in self._free:
            each.close()


def _read_tables(connection: psycopg.Connection[Any]) -> object:
    """Return what is the same in all copies, and changes with each change of a table or constraint."""
    return connection.execute(_TABLES).fetchone()
