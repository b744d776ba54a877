"""Tables are restored after any changes, also if their rows refer to each other."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.engine import Connection

from podpass.lab.instance.tables import read_tables, restore_tables
from tests.suite_policy import examples

SCHEMA = """
CREATE TABLE owners (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, data BLOB);
CREATE TABLE parts (owner INTEGER NOT NULL REFERENCES owners (id) ON DELETE CASCADE, name TEXT NOT NULL,
    PRIMARY KEY (owner, name)) WITHOUT ROWID;
INSERT INTO owners (name, data) VALUES ('one', x'00ff'), ('two', NULL), ('three', x'');
INSERT INTO parts VALUES (1, 'a'), (1, 'b'), (2, 'a');
"""
CHANGES = (
    "DELETE FROM owners WHERE id = 1",
    "DELETE FROM owners",
    "DELETE FROM parts WHERE name = 'a'",
    "UPDATE owners SET name = 'other', data = NULL",
    "INSERT INTO owners (name) VALUES ('new')",
    "INSERT OR IGNORE INTO parts SELECT id, 'new' FROM owners",
    "UPDATE OR IGNORE parts SET name = name || '!'",
)


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with create_engine("sqlite://").connect() as opened:
        opened.exec_driver_sql("PRAGMA foreign_keys = ON")
        for statement in SCHEMA.split(";\n"):
            opened.exec_driver_sql(statement)
        opened.commit()
        yield opened


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.sampled_from(CHANGES), max_size=6))
def test_restore_reverts_any_changes_of_the_tables(
    connection: Connection, changes: list[str]
) -> None:
    before = read_tables(connection)
    for change in changes:
        connection.exec_driver_sql(change)
    changed = {name for name, rows in read_tables(connection).items() if rows != before[name]}
    assert restore_tables(connection, before) == changed
    connection.commit()
    assert read_tables(connection) == before


def test_restored_counter_gives_the_next_row_the_same_id(connection: Connection) -> None:
    before = read_tables(connection)
    insert = "INSERT INTO owners (name) VALUES ('new') RETURNING id"
    first = connection.exec_driver_sql(insert).scalar()
    restore_tables(connection, before)
    assert connection.exec_driver_sql(insert).scalar() == first
    restore_tables(connection, before)
    connection.commit()
