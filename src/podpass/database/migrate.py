"""Tables made, and brought from one version to the next: one chain of Alembic's scripts for each store.

A new database is made at once and stamped; scripts run, and Alembic is imported, only where a database is
behind. All of it happens inside one transaction that writes: several processes that start together do it
once, and what fails half-way has not happened.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Column, Connection, MetaData, String, Table, delete, insert, inspect, select

from podpass.database.errors import DatabaseUnusable

# What stamped a database before there were chains: one table, with a number.
_EARLIER = Table("schema_version", MetaData(), Column("version"))


@dataclass(frozen=True, slots=True)
class Chain:
    """The versions of one store's tables.

    Shapes:  `name` tells stores of one database apart; the modules of `package` are Alembic's scripts, with
             revisions of four digits; `head` is the one that the store's metadata describes.
    """

    name: str
    package: str
    head: str

    @property
    def stamp(self) -> Table:
        """The table that holds the revision of the store's tables."""
        column = Column("version_num", String(32), primary_key=True)
        return Table(f"alembic_version_{self.name}", MetaData(), column)


def is_current(connection: Connection, chain: Chain) -> bool:
    """Tell whether there is nothing to prepare; a connection that reads is enough."""
    return recorded(connection, chain) == chain.head


def recorded(connection: Connection, chain: Chain) -> str | None:
    """Read the revision of a store's tables; None where the chain has not been begun.

    Errors:  DatabaseUnusable.
    """
    if not inspect(connection).has_table(chain.stamp.name):
        return None
    revision: Any = connection.execute(select(chain.stamp)).scalar_one_or_none()
    if revision is not None and not isinstance(revision, str):
        raise DatabaseUnusable(
            f"table {chain.stamp.name} does not say which schema the database has",
            hint="restore the database from a backup",
        )
    return revision


def prepare(connection: Connection, schema: MetaData, chain: Chain) -> None:
    """Make a store's tables, or bring those that are there up to date, or leave them.

    Errors:  DatabaseUnusable, with nothing changed, for tables of a newer podpass or of somebody else.
    """
    found = recorded(connection, chain) or _carried_over(connection, schema, chain)
    if found is None:
        _refuse_others(connection, schema)
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
        climb(connection, chain, found, chain.head)


def climb(connection: Connection, chain: Chain, found: str | None, target: str) -> None:
    """Run the scripts after one revision up to another; from None they make the tables."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection)
    with Operations.context(context):
        for script in scripts(chain, found, target):
            script.upgrade()
    _stamp(connection, chain, target)


def scripts(chain: Chain, found: str | None, target: str) -> Iterable[ModuleType]:
    """List the scripts after `found` up to `target`, in the order in which they run.

    Errors:  DatabaseUnusable where the chain does not know one of them.
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


def _carried_over(connection: Connection, schema: MetaData, chain: Chain) -> str | None:
    """Take a database over from the number that stamped it; its table belongs to the tables beside it."""
    there = set(inspect(connection).get_table_names())
    if _EARLIER.name not in there or not there & set(schema.tables):
        return None
    version = connection.execute(select(_EARLIER.c.version)).scalar_one()
    revision = f"{int(version):04}"
    _EARLIER.drop(connection)
    _stamp(connection, chain, revision)
    return revision


def _refuse_others(connection: Connection, schema: MetaData) -> None:
    """Keep off a database that is somebody else's: our rows would go into tables of their making."""
    theirs = sorted(set(inspect(connection).get_table_names()) & set(schema.tables))
    if theirs:
        raise DatabaseUnusable(
            f"the database has tables that podpass did not make: {', '.join(theirs)}",
            hint="give podpass a database of its own",
            tables=theirs,
        )


def _stamp(connection: Connection, chain: Chain, revision: str) -> None:
    stamp = chain.stamp
    stamp.create(connection, checkfirst=True)
    connection.execute(delete(stamp))
    connection.execute(insert(stamp).values(version_num=revision))
