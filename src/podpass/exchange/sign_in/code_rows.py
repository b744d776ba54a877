"""What rows of sign-ins under way have in common: where they are sealed, when they go, how many there are."""

import uuid

from sqlalchemy import Connection, Table, delete, func, insert, select

from podpass.exchange.schema import wrong_codes
from podpass.exchange.sign_in import codes


def place(kind: str, digest: bytes) -> str:
    """Name the only row in which a sealed value opens."""
    return f"{kind}:{digest.hex()}"


def shown(digest: object) -> str:
    """Name a row to people by its digest, which tells no code, as SQLite writes it."""
    return f"x'{digest.hex()}'" if isinstance(digest, bytes | memoryview) else repr(digest)


def count(connection: Connection, table: Table) -> int:
    """Count what is held."""
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def drop_expired(
    connection: Connection, table: Table, column: str, now: float, seconds: float
) -> None:
    """Delete what is too old, and what a clock that stood far ahead wrote."""
    begun = table.c[column]
    gone = (begun <= now - seconds) | (begun > now + seconds)
    connection.execute(delete(table).where(gone))


def is_guessing(connection: Connection, now: float) -> bool:
    """Tell whether too many wrong codes were typed lately, at whichever replica."""
    lately = (wrong_codes.c.at > now - codes.WRONG_SECONDS) & (
        wrong_codes.c.at < now + codes.WRONG_SECONDS
    )
    query = select(func.count()).select_from(wrong_codes).where(lately)
    return int(connection.execute(query).scalar_one()) >= codes.MAX_WRONG


def note_wrong(connection: Connection, now: float) -> None:
    """Count a wrong code."""
    drop_expired(connection, wrong_codes, "at", now, codes.WRONG_SECONDS)
    connection.execute(insert(wrong_codes).values(id=str(uuid.uuid4()), at=now))
