"""Signing keys and seals as rows: every statement about them, and what seals them.

A row opens only under its own name: one that is given another's place, or was changed, is damaged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from podpass.crypto.envelope import Sealer, SealingKeyUnfit, read_key
from podpass.crypto.jose import BadKey
from podpass.database import RowDamaged, check_types, shaping
from podpass.errors import Error
from podpass.exchange.schema import seals, signing_keys
from podpass.exchange.signing import key as key_material
from podpass.exchange.signing import key_store
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.signing.schedule import Slot

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


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedKey:
    """A key, and what it was sealed as."""

    sealed: bytes = field(repr=False)
    key: AuthorityKey = field(repr=False)


NOTHING: Mapping[str, OpenedKey] = MappingProxyType({})


class AuthorityKeysError(Error):
    """Some of the keys in the database are damaged."""

    code = "authority_keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The keys that opened, by name, and the names of those that are damaged."""

    keys: Mapping[str, OpenedKey] = field(repr=False)
    damaged: Sequence[str]

    def with_those_known(self, known: Mapping[str, OpenedKey]) -> Mapping[str, OpenedKey]:
        """Give the keys to go on with: one that was opened before stays while its row does."""
        return {**self.keys, **{kid: known[kid] for kid in self.damaged if kid in known}}


def open_all(found: Found, sealer: Sealer, known: Mapping[str, OpenedKey] = NOTHING) -> Opened:
    """Open all keys; `known` are those that were opened before, which spares what has not changed."""
    keys: dict[str, OpenedKey] = {}
    damaged = []
    for row in found.rows:
        try:
            keys[row.slot.kid] = _open(row, sealer, known)
        except SealingKeyUnfit:
            damaged.append(row.slot.kid)
    return Opened(keys=keys, damaged=[*damaged, *found.timeless])


def check(found: Found, sealer: Sealer, known: Mapping[str, OpenedKey]) -> None:
    """Check that everything opens: nothing starts on keys of which one does not.

    Errors:  SealingKeyUnfit, AuthorityKeysError.
    """
    looked = open_all(found, sealer, known)
    has_seal = key_store.open_seal(found, sealer) is not None
    if not looked.keys and not has_seal:
        raise SealingKeyUnfit(
            "the signing keys in the database are sealed with another key",
            hint="give every replica the sealing key file with which the first one started; if it"
            f" is lost, {REPLACE} makes new keys under this one",
        )
    if looked.damaged or not has_seal:
        what = ", ".join(looked.damaged) or "the seal of refresh tokens"
        raise AuthorityKeysError(
            f"in the database, {what} is damaged",
            hint="restore the database from a backup; a key that does not sign can be withdrawn with"
            f" {RETIRE}, and {REPLACE} makes new ones",
            kids=looked.damaged,
        )


def _open(row: Row, sealer: Sealer, known: Mapping[str, OpenedKey]) -> OpenedKey:
    before = known.get(row.slot.kid)
    if before is not None and before.sealed == row.sealed:
        return before
    return OpenedKey(sealed=row.sealed, key=key_store.open_key(row, sealer))


REPLACE = "`podpass authority rotate --retire-others`"


def sealer_of(sealing: Path | bytes, *, make: bool = False) -> Sealer:
    """Read the sealing key.

    Errors:  SealingKeyUnfit, saying what to do.
    """
    if isinstance(sealing, bytes):
        return Sealer(read_key(sealing, "the sealing key"))
    if not make and not sealing.exists():
        raise SealingKeyUnfit(
            f"{sealing} is missing, and the signing keys in the database are sealed with it",
            hint=f"put the file back; if it is lost, write 32 random bytes to it and run {REPLACE}",
            file=str(sealing),
        )
    return Sealer.from_file(sealing, make=make)
