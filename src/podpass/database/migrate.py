"""Creates and upgrades the tables of each store: one chain of Alembic migrations for each.

A new database gets its current tables directly, with the head revision as its stamp. Migrations run, and
Alembic is imported, only for a database at an older revision. Everything runs in one write transaction: if
several processes start together, one upgrades, and a failed upgrade changes nothing.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from sqlalchemy import Column, Connection, MetaData, Table, delete, insert, inspect, select

from podpass.database.column_types import InvalidUtf8, short_text, strict_table
from podpass.database.errors import DatabaseUnusable


@dataclass(frozen=True, slots=True)
class MigrationChain:
    """The revisions of one store's tables.

    `name` identifies the store in a database; the modules of `package` are Alembic migrations with revisions
    of four digits; `head` is the revision that the store's metadata describes.
    """

    name: str
    package: str
    head: str

    @property
    def stamp(self) -> Table:
        """Return the table that holds the revision of the store's tables."""
        column = Column("version_num", short_text(32), primary_key=True)
        return strict_table(f"alembic_version_{self.name}", MetaData(), column)


def is_current(connection: Connection, chain: MigrationChain) -> bool:
    """Return whether the tables are at the head revision. A read connection is enough."""
    return current_revision(connection, chain) == chain.head


def current_revision(connection: Connection, chain: MigrationChain) -> str | None:
    """Return the revision of a store's tables; None if the store has no tables. Raises DatabaseUnusable."""
    if not inspect(connection).has_table(chain.stamp.name):
        return None
    revision = connection.execute(select(chain.stamp)).scalar_one_or_none()
    if isinstance(revision, InvalidUtf8):
        raise DatabaseUnusable(
            f"table {chain.stamp.name} does not say which schema the database has",
            hint="restore the database from a backup",
        )
    return revision


def prepare(connection: Connection, schema: MetaData, chain: MigrationChain) -> None:
    """Create a store's tables, or upgrade them to the head revision.

    Raises DatabaseUnusable, with nothing changed, for tables of a newer podpass or of another program.
    """
    found = current_revision(connection, chain)
    if found is None:
        _reject_foreign_tables(connection, schema)
        schema.create_all(connection)
        _stamp(connection, chain, chain.head)
    elif found > chain.head:
        raise DatabaseUnusable(
            f"the database is of a newer podpass: its {chain.name} has schema {found},"
            f" this podpass reads up to {chain.head}",
            hint="start the podpass that last used it, or a newer one; nothing was changed",
            found=found,
            head=chain.head,
        )
    elif found < chain.head:
        upgrade(connection, chain, found, chain.head)


def upgrade(connection: Connection, chain: MigrationChain, found: str | None, target: str) -> None:
    """Run the migrations after one revision up to another. Without a first revision, create the tables."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection)
    with Operations.context(context):
        for script in list_scripts(chain, found, target):
            script.upgrade()
    _stamp(connection, chain, target)


def list_scripts(chain: MigrationChain, found: str | None, target: str) -> Iterable[ModuleType]:
    """List the migrations after `found` up to `target`, in the order in which they run.

    Raises DatabaseUnusable for a revision that the chain does not have.
    """
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError
    from alembic.util import CommandError

    folder = Path(str(importlib.import_module(chain.package).__file__)).parent
    directory = ScriptDirectory(str(folder), version_locations=[str(folder)])
    try:
        steps = list(directory.iterate_revisions(target, found or "base"))
    except (CommandError, RevisionError) as exc:
        raise DatabaseUnusable(
            f"this podpass does not know schema {found} of the {chain.name}",
            found=found,
            head=chain.head,
        ) from exc
    return [step.module for step in reversed(steps)]


def _reject_foreign_tables(connection: Connection, schema: MetaData) -> None:
    """Refuse a database of another program: podpass must not write into tables that it did not create."""
    foreign = sorted(set(inspect(connection).get_table_names()) & set(schema.tables))
    if foreign:
        raise DatabaseUnusable(
            f"the database has tables that podpass did not make: {', '.join(foreign)}",
            hint="use a separate database for podpass",
            tables=foreign,
        )


def _stamp(connection: Connection, chain: MigrationChain, revision: str) -> None:
    stamp = chain.stamp
    stamp.create(connection, checkfirst=True)
    connection.execute(delete(stamp))
    connection.execute(insert(stamp).values(version_num=revision))
