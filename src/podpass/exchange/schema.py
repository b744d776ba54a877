"""The tables of the token service: its keys, and the sign-ins in progress. Secret values are sealed."""

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData

from podpass.database.column_types import Moment, Seconds, short_text, strict_table
from podpass.database.migrate import MigrationChain

CHAIN = MigrationChain("authority", "podpass.exchange.migrations", head="0001")
metadata = MetaData()


def _time(name: str) -> Column[float]:
    return Column(name, Moment, nullable=False)


def _sealed() -> Column[bytes]:
    return Column("sealed", LargeBinary, nullable=False)


# `ordinal` numbers all keys ever created: two replicas that create a key at the same time cannot both store
# it.
signing_keys = strict_table(
    "authority_keys",
    metadata,
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("kid", short_text(64), nullable=False, unique=True),
    _time("created"),
    _time("activates"),
    _sealed(),
)

seals = strict_table(
    "authority_seals",
    metadata,
    Column("name", short_text(32), primary_key=True),
    _time("created"),
    _sealed(),
)

# Authorization codes by digest. A redeemed code is marked, and deleted when it would have expired.
codes = strict_table(
    "authority_codes",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    _time("issued"),
    Column("used", Integer, nullable=False),
    _sealed(),
    Index("authority_codes_issued", "issued"),
)

# Device codes by digest. `user_code` is the digest of the code that a user enters, NULL after it was entered.
devices = strict_table(
    "authority_devices",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("user_code", LargeBinary(32), nullable=True, unique=True),
    _time("begun"),
    Column("polled", Seconds, nullable=False),  # earlier than any date until the first poll
    _sealed(),
    Index("authority_devices_begun", "begun"),
)

# The times at which wrong user codes were sent.
wrong_codes = strict_table(
    "authority_wrong_codes",
    metadata,
    Column("id", short_text(36), primary_key=True),
    _time("at"),
    Index("authority_wrong_codes_at", "at"),
)

# Consent forms that were sent and sessions that have ended, by digest. A row is deleted when a session would
# have expired.
used_forms = strict_table(
    "authority_used_forms",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    _time("at"),
    Index("authority_used_forms_at", "at"),
)

# The number of wrong passwords in a row for each user, and the time of the last one.
lockouts = strict_table(
    "authority_lockouts",
    metadata,
    Column("user_id", short_text(64), primary_key=True),
    Column("wrong", Integer, nullable=False),
    _time("since"),
)
