"""Signing keys and seals as rows: every statement about them, and what seals them.

A row opens only under its own name: one that is given another's place, or was changed, is damaged.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from podpass.database import RowDamaged, check_types, shaping
from podpass.exchange import key_material
from podpass.exchange.key_material import AuthorityKey
from podpass.exchange.key_schedule import Slot
from podpass.exchange.schema import seals, signing_keys
from podpass.jose import BadKey
from podpass.sealing import Sealer, SealingKeyUnfit

TOPIC = "keys"
RETIRE = "`podpass authority rotate --retire KID`"
_SEAL = "refresh-tokens"
_columns = signing_keys.c
# What is sealed is not of it: where that is damaged, it is still known when the key signs.
_SLOTS = select(_columns.ordinal, _columns.kid, _columns.created, _columns.activates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One key as it is stored."""

    slot: Slot
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """All that is stored; `seal` is None in a database that has no keys yet.

    Shapes:  `timeless` names the keys of which nobody can tell from their rows when they sign.
    """

    rows: Sequence[Row]
    timeless: Sequence[str] = ()
    seal: bytes | None = field(repr=False)

    @property
    def is_empty(self) -> bool:
        return not (self.rows or self.timeless)

    @property
    def slots(self) -> Sequence[Slot]:
        return [row.slot for row in self.rows]


def read(connection: Connection) -> Found:
    """Read all keys, in the order in which they were made."""
    query = _SLOTS.add_columns(signing_keys.c.sealed).order_by(signing_keys.c.ordinal)
    rows, timeless = [], []
    for row in connection.execute(query):
        try:
            rows.append(_row(row))
        except RowDamaged:
            timeless.append(str(row.kid))
    seal = connection.execute(select(seals.c.sealed).where(seals.c.name == _SEAL)).scalar()
    return Found(rows=rows, timeless=timeless, seal=None if seal is None else _sealed(seal))


def _row(row: Any) -> Row:
    with shaping(signing_keys.name, row.kid):
        *told, sealed = row
        check_types(told, _SLOTS)
        _check_times(row.created, row.activates)
        slot = Slot(ordinal=row.ordinal, kid=row.kid, created=row.created, activates=row.activates)
    return Row(slot=slot, sealed=_sealed(sealed))


def _check_times(*values: float) -> None:
    for value in values:
        if value < 0:
            raise ValueError("want seconds since the epoch")


def _sealed(value: object) -> bytes:
    """Give what is sealed; something else opens with no key, as what is damaged does."""
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


def slots(connection: Connection) -> Sequence[Slot]:
    """Read when each key signs, for whoever changes that.

    Errors:  RowDamaged where it is not known of all of them.
    """
    found = read(connection)
    if found.timeless:
        raise RowDamaged(
            f"when {', '.join(found.timeless)} signs cannot be read in table {signing_keys.name}",
            hint=f"restore the database from a backup, or withdraw it with {RETIRE}",
        )
    return found.slots


def add(
    connection: Connection, sealer: Sealer, key: AuthorityKey, *, created: float, activates: float
) -> None:
    """Store a key."""
    last = connection.execute(select(func.max(signing_keys.c.ordinal))).scalar()
    connection.execute(
        insert(signing_keys).values(
            ordinal=(last or 0) + 1,
            kid=key.kid,
            created=created,
            activates=activates,
            sealed=sealer.seal(key_material.write(key), _place(key.kid)),
        )
    )


def move(connection: Connection, kid: str, activates: float) -> None:
    """Let a key sign from another moment on."""
    connection.execute(
        update(signing_keys).where(signing_keys.c.kid == kid).values(activates=activates)
    )


def remove(connection: Connection, kids: Iterable[str]) -> int:
    """Delete keys, and tell how many there were."""
    gone = delete(signing_keys).where(signing_keys.c.kid.in_(list(kids)))
    return connection.execute(gone).rowcount


def remove_all(connection: Connection) -> None:
    """Delete every key, whatever its row holds."""
    connection.execute(delete(signing_keys))


def put_seal(connection: Connection, sealer: Sealer, key: bytes, *, created: float) -> None:
    """Store the key of what the service gives out sealed, in the place of the one before."""
    connection.execute(delete(seals).where(seals.c.name == _SEAL))
    sealed = sealer.seal(key, f"authority-seal:{_SEAL}")
    connection.execute(insert(seals).values(name=_SEAL, created=created, sealed=sealed))


def open_key(row: Row, sealer: Sealer) -> AuthorityKey:
    """Open a stored key.

    Errors:  SealingKeyUnfit.
    """
    try:
        key = key_material.read(sealer.open(row.sealed, _place(row.slot.kid)))
    except (ValueError, BadKey) as exc:
        raise SealingKeyUnfit("what was sealed is not a key", kid=row.slot.kid) from exc
    if key.kid != row.slot.kid:
        raise SealingKeyUnfit("what was sealed is another key", kid=row.slot.kid)
    return key


def open_seal(found: Found, sealer: Sealer) -> bytes | None:
    """Open the stored key of what the service gives out sealed; None where it is damaged, or not there."""
    if found.seal is None:
        return None
    try:
        return sealer.open(found.seal, f"authority-seal:{_SEAL}")
    except SealingKeyUnfit:
        return None


def _place(kid: str) -> str:
    return f"authority-key:{kid}"
