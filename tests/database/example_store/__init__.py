"""A store with three revisions, for tests of upgrades: the real stores have only their baseline."""

from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData

from podpass.database.column_types import Text, strict_table
from podpass.database.migrate import MigrationChain

CHAIN = MigrationChain(name="example", package="tests.database.example_store", head="0003")
metadata = MetaData()

things = strict_table(
    "example_things",
    metadata,
    Column("name", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("name_key", Text, nullable=False, server_default=""),
    Index("example_things_by_key", "name_key"),
)

labels = strict_table(
    "example_labels",
    metadata,
    Column("label", Text, primary_key=True),
    Column("thing", ForeignKey("example_things.name", ondelete="CASCADE"), nullable=False),
)
