"""Operations on the rows of pending codes: seal context, expiry, count, and limit of wrong codes."""

import uuid

from sqlalchemy import Connection, Table, delete, func, insert, select

from podpass.exchange.schema import wrong_codes
from podpass.exchange.sign_in import codes


def seal_context(kind: str, digest: bytes) -> str:
    """Return the seal context of a row; a value sealed with it opens only for this row."""
    return f"{kind}:{digest.hex()}"


def display_key(digest: object) -> str:
    """Return the key of a row for error messages: its digest in SQLite's notation, which reveals no code."""
    return f"x'{digest.hex()}'" if isinstance(digest, bytes | memoryview) else repr(digest)


def count_rows(connection: Connection, table: Table) -> int:
    """Return the number of rows."""
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def delete_expired(
    connection: Connection, table: Table, column: str, now: float, seconds: float
) -> None:
    """Delete expired rows, and rows that a wrong clock wrote, with a time far in the future."""
    created = table.c[column]
    expired = (created <= now - seconds) | (created > now + seconds)
    connection.execute(delete(table).where(expired))


def is_guessing_limited(connection: Connection, now: float) -> bool:
    """Return whether too many wrong codes were entered recently, counted over all replicas."""
    recent = (wrong_codes.c.at > now - codes.WRONG_CODE_SECONDS) & (
        wrong_codes.c.at < now + codes.WRONG_CODE_SECONDS
    )
    query = select(func.count()).select_from(wrong_codes).where(recent)
    return int(connection.execute(query).scalar_one()) >= codes.MAX_WRONG_CODES


def record_wrong_code(connection: Connection, now: float) -> None:
    """Record a wrong code."""
    delete_expired(connection, wrong_codes, "at", now, codes.WRONG_CODE_SECONDS)
    connection.execute(insert(wrong_codes).values(id=str(uuid.uuid4()), at=now))
