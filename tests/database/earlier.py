"""Databases as an earlier podpass left them: dumps of real ones, with rows in every table."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect, select
from sqlalchemy.pool import NullPool

from podpass.database.migrate import Chain
from podpass.directory.store import schema as directory
from podpass.exchange import schema as authority
from podpass.resource import schema as vault

STORES = {
    "directory": (directory.metadata, directory.CHAIN),
    "vault": (vault.metadata, vault.CHAIN),
    "authority": (authority.metadata, authority.CHAIN),
}
# By store and the number that stamped it; the authority kept nothing in a database then.
DUMPS = [(store, number) for store in ("directory", "vault") for number in (1, 2)]
# The key that the dumps' secrets are sealed with.
KEY = b"k" * 32


def dump(store: str, number: int) -> str:
    """Give the statements that make a database of an earlier podpass."""
    return (Path(__file__).parent / "schemas" / f"{store}-{number}.sql").read_text("utf-8")


def restore(path: Path, *dumps: tuple[str, int]) -> Path:
    """Make the file of an earlier podpass."""
    with closing(sqlite3.connect(path)) as connection:
        for one in dumps:
            connection.executescript(dump(*one))
    return path


def lines(path: Path) -> list[str]:
    """Dump a file, to see whether it changed."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """Look into a database beside podpass."""
    engine = create_engine(
        url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool
    )
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", lambda one, _: setattr(one, "isolation_level", None))
        event.listen(engine, "begin", lambda one: one.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        yield engine
    finally:
        engine.dispose()


def rows(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Read every row of every table as the tables themselves say; those of stamps left out."""
    found = MetaData()
    found.reflect(connection)
    return {
        table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
        for table in found.sorted_tables
        if not table.name.startswith(("alembic_version", "schema_version", "sqlite"))
    }


def rows_of(store: str, number: int) -> dict[str, list[dict[str, Any]]]:
    """Read every row of a dump."""
    with opened("sqlite://") as engine, engine.connect() as connection:
        inside: Any = connection.connection.driver_connection
        inside.executescript(dump(store, number))
        return rows(connection)


def copy(connection: Connection, given: dict[str, list[dict[str, Any]]]) -> None:
    """Write rows of a dump into tables of the same schema, on whatever database."""
    found = MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        if given.get(table.name):
            connection.execute(table.insert(), given[table.name])


def tables(connection: Connection, chain: Chain) -> dict[str, Any]:
    """Describe every table but the stamp, so that two databases can be compared."""
    seen = inspect(connection)
    return {
        name: {
            "columns": {
                one["name"]: (
                    str(one["type"]),
                    one["nullable"],
                    one["default"],
                    one.get("collation"),
                )
                for one in _typed(seen.get_columns(name))
            },
            "key": seen.get_pk_constraint(name)["constrained_columns"],
            "foreign": sorted(map(_foreign, seen.get_foreign_keys(name))),
            "unique": sorted(
                tuple(one["column_names"]) for one in seen.get_unique_constraints(name)
            ),
            "indexes": sorted(
                (str(one["name"]), tuple(one["column_names"]), bool(one["unique"]))
                for one in seen.get_indexes(name)
            ),
        }
        for name in sorted(set(seen.get_table_names()) - {chain.stamp.name})
    }


def _typed(columns: list[Any]) -> list[Any]:
    return [one | {"collation": getattr(one["type"], "collation", None)} for one in columns]


def _foreign(one: Any) -> tuple[Any, ...]:
    return (
        tuple(one["constrained_columns"]),
        one["referred_table"],
        tuple(one["referred_columns"]),
        one["options"].get("ondelete"),
    )
