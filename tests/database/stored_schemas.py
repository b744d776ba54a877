"""SQL dumps of databases of every revision with rows in every table; helpers to compare databases."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect, select
from sqlalchemy.pool import NullPool

from podpass.database.migrate import MigrationChain
from podpass.directory.store import schema as directory
from podpass.exchange import schema as authority
from podpass.lab.services.vault import schema as vault

STORES = {
    "directory": (directory.metadata, directory.CHAIN),
    "vault": (vault.metadata, vault.CHAIN),
    "authority": (authority.metadata, authority.CHAIN),
}
# Store and revision of each dump: one for each revision, with rows in every table.
DUMPS = [
    (store, f"{number:04}")
    for store, (_, chain) in STORES.items()
    for number in range(1, int(chain.head) + 1)
]
NEWEST_DUMPS = [(store, chain.head) for store, (_, chain) in STORES.items()]
# The key that seals the secrets in the vault's dump.
KEY = b"k" * 32


def read_dump(store: str, revision: str) -> str:
    """Return the SQL statements of a dump."""
    return (Path(__file__).parent / "schemas" / f"{store}-{revision}.sql").read_text("utf-8")


def restore(path: Path, *dumps: tuple[str, str]) -> Path:
    """Create a SQLite file from dumps."""
    with closing(sqlite3.connect(path)) as connection:
        for one in dumps:
            connection.executescript(read_dump(*one))
    return path


def dump_lines(path: Path) -> list[str]:
    """Dump a SQLite file, to compare it with an earlier state."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


@contextmanager
def open_engine(url: str) -> Iterator[Engine]:
    """Open a database without podpass."""
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


def read_rows(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Read every row of every table except the revision stamps."""
    found = MetaData()
    found.reflect(connection)
    return {
        table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
        for table in found.sorted_tables
        if not table.name.startswith(("alembic_version", "sqlite"))
    }


def read_dump_rows(store: str, revision: str) -> dict[str, list[dict[str, Any]]]:
    """Read every row of a dump."""
    with open_engine("sqlite://") as engine, engine.connect() as connection:
        inside: Any = connection.connection.driver_connection
        inside.executescript(read_dump(store, revision))
        return read_rows(connection)


def insert_rows(connection: Connection, given: dict[str, list[dict[str, Any]]]) -> None:
    """Insert rows of a dump into tables of the same schema, on either database."""
    found = MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        if given.get(table.name):
            connection.execute(table.insert(), given[table.name])


def describe_tables(connection: Connection, chain: MigrationChain) -> dict[str, Any]:
    """Describe every table except the stamp, to compare two databases."""
    inspector = inspect(connection)
    names = sorted(set(inspector.get_table_names()) - {chain.stamp.name})
    return {name: _describe(connection, inspector, name) for name in names}


def _describe(connection: Connection, inspector: Any, name: str) -> dict[str, Any]:
    return {
        "columns": {
            one["name"]: (
                str(one["type"]),
                one["nullable"],
                one["default"],
                getattr(one["type"], "collation", None),
            )
            for one in inspector.get_columns(name)
        },
        "key": inspector.get_pk_constraint(name)["constrained_columns"],
        "foreign": sorted(map(_describe_foreign_key, inspector.get_foreign_keys(name))),
        "unique": sorted(
            tuple(one["column_names"]) for one in inspector.get_unique_constraints(name)
        ),
        "indexes": sorted(
            (str(one["name"]), tuple(one["column_names"]), bool(one["unique"]))
            for one in inspector.get_indexes(name)
        ),
        "strict": connection.dialect.name != "sqlite" or _is_strict(connection, name),
    }


def _is_strict(connection: Connection, name: str) -> bool:
    query = "SELECT strict FROM pragma_table_list WHERE name = ?"
    return bool(connection.exec_driver_sql(query, (name,)).scalar_one())


def _describe_foreign_key(one: Any) -> tuple[Any, ...]:
    return (
        tuple(one["constrained_columns"]),
        one["referred_table"],
        tuple(one["referred_columns"]),
        one["options"].get("ondelete"),
    )
