"""Tables of the token service: its keys, and the sign-ins under way. What is secret in them is sealed."""

from sqlalchemy import Column, Double, Index, Integer, LargeBinary, MetaData, String, Table

from podpass.database.column_types import Moment
from podpass.database.migrate import Chain

CHAIN = Chain("authority", "podpass.exchange.migrations", head="0001")
metadata = MetaData()


def _time(name: str) -> Column[float]:
    return Column(name, Moment, nullable=False)


def _sealed() -> Column[bytes]:
    return Column("sealed", LargeBinary, nullable=False)


# `ordinal` counts the keys ever made: two replicas that make one at the same time cannot both have it.
signing_keys = Table(
    "authority_keys",
    metadata,
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("kid", String(64), nullable=False, unique=True),
    _time("created"),
    _time("activates"),
    _sealed(),
)

seals = Table(
    "authority_seals",
    metadata,
    Column("name", String(32), primary_key=True),
    _time("created"),
    _sealed(),
)

# An authorization code by its digest; one that was redeemed stays, marked, until it would have expired.
codes = Table(
    "authority_codes",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    _time("issued"),
    Column("used", Integer, nullable=False),
    _sealed(),
    Index("authority_codes_issued", "issued"),
)

# A device code by its digest, and the code that people type by its own until it was typed.
devices = Table(
    "authority_devices",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("user_code", LargeBinary(32), nullable=True, unique=True),
    _time("begun"),
    Column("polled", Double, nullable=False),  # before any date as long as it never was
    _sealed(),
    Index("authority_devices_begun", "begun"),
)

# When somebody typed a wrong code.
wrong_codes = Table(
    "authority_wrong_codes",
    metadata,
    Column("id", String(36), primary_key=True),
    _time("at"),
    Index("authority_wrong_codes_at", "at"),
)

# Wrong passwords of a user in a row, and when the last was typed.
guesses = Table(
    "authority_guesses",
    metadata,
    Column("user_id", String(64), primary_key=True),
    Column("wrong", Integer, nullable=False),
    _time("since"),
)
