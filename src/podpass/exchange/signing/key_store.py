"""The signing keys and the token seal in the database: statements, row decoding, sealing and unsealing.

Each value is sealed for its own row: a value that was changed, or moved to another row, cannot be unsealed,
and its key counts as damaged.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from podpass.crypto.envelope import InvalidSealingKey, Sealer, decode_sealing_key
from podpass.crypto.jose import BadKey
from podpass.database import CorruptRowError, row_decoder
from podpass.errors import Error
from podpass.exchange.schema import seals, signing_keys
from podpass.exchange.signing import key as key_material
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.signing.schedule import ScheduledKey

TOPIC = "keys"
RETIRE_COMMAND = "`podpass authority rotate --retire KID`"
REPLACE_COMMAND = "`podpass authority rotate --retire-others`"
_SEAL = "refresh-tokens"
_SEAL_CONTEXT = f"authority-seal:{_SEAL}"
_KEYS = select(signing_keys).order_by(signing_keys.c.ordinal)


class DamagedKeysError(Error):
    """Some of the keys in the database are damaged."""

    code = "authority_keys_damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A stored key."""

    slot: ScheduledKey
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKeys:
    """All stored keys; `seal` is the sealed token seal, None in a database that has no keys yet.

    `undated` holds the key IDs of rows without a readable activation time.
    """

    rows: Sequence[KeyRow]
    undated: Sequence[str] = ()
    seal: bytes | None = field(repr=False)

    @property
    def is_empty(self) -> bool:
        return not (self.rows or self.undated)

    @property
    def slots(self) -> Sequence[ScheduledKey]:
        return [row.slot for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsealedKey:
    """A key, and the sealed value that it was unsealed from."""

    sealed: bytes = field(repr=False)
    key: AuthorityKey = field(repr=False)


NO_KEYS: Mapping[str, UnsealedKey] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsealedKeys:
    """The unsealed keys by key ID, and the key IDs of damaged keys."""

    keys: Mapping[str, UnsealedKey] = field(repr=False)
    damaged: Sequence[str]

    def with_known(self, known: Mapping[str, UnsealedKey]) -> Mapping[str, UnsealedKey]:
        """Return the unsealed keys, and for each damaged row the key that was unsealed from it earlier."""
        return {**self.keys, **{kid: known[kid] for kid in self.damaged if kid in known}}


# ------------------------------------------------------------------------------------------ statements


def read_keys(connection: Connection) -> StoredKeys:
    """Read all keys, in the order in which they were created."""
    rows, undated = [], []
    for row in connection.execute(_KEYS):
        try:
            rows.append(_decode_row(row))
        except CorruptRowError:
            undated.append(str(row.kid))
    seal = connection.execute(select(seals.c.sealed).where(seals.c.name == _SEAL)).scalar()
    return StoredKeys(rows=rows, undated=undated, seal=seal)


@row_decoder(signing_keys, lambda row: row.kid)
def _decode_row(row: Any) -> KeyRow:
    if min(row.created, row.activates) < 0:
        raise ValueError("want seconds since the epoch")
    slot = ScheduledKey(
        ordinal=row.ordinal, kid=row.kid, created=row.created, activates=row.activates
    )
    return KeyRow(slot=slot, sealed=row.sealed)


def read_schedule(connection: Connection) -> Sequence[ScheduledKey]:
    """Read the activation time of each key, for a transaction that changes it.

    Raises CorruptRowError if a row has no readable activation time.
    """
    found = read_keys(connection)
    if found.undated:
        raise CorruptRowError(
            f"the activation time of {', '.join(found.undated)} cannot be read in table"
            f" {signing_keys.name}",
            hint=f"restore the database from a backup, or withdraw the key with {RETIRE_COMMAND}",
        )
    return found.slots


def insert_key(
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
            sealed=sealer.seal(key_material.to_pem(key), _key_context(key.kid)),
        )
    )


def set_activation(connection: Connection, kid: str, activates: float) -> None:
    """Change the activation time of a key."""
    connection.execute(
        update(signing_keys).where(signing_keys.c.kid == kid).values(activates=activates)
    )


def delete_keys(connection: Connection, kids: Iterable[str]) -> int:
    """Delete keys; return how many rows were deleted."""
    statement = delete(signing_keys).where(signing_keys.c.kid.in_(list(kids)))
    return connection.execute(statement).rowcount


def delete_all_keys(connection: Connection) -> None:
    """Delete every key, corrupt rows included."""
    connection.execute(delete(signing_keys))


def replace_token_seal(
    connection: Connection, sealer: Sealer, key: bytes, *, created: float
) -> None:
    """Store the key that seals refresh tokens and other values for clients; replace the stored one."""
    connection.execute(delete(seals).where(seals.c.name == _SEAL))
    sealed = sealer.seal(key, _SEAL_CONTEXT)
    connection.execute(insert(seals).values(name=_SEAL, created=created, sealed=sealed))


# --------------------------------------------------------------------------------------------- sealing


def load_sealer(sealing: Path | bytes, *, make: bool = False) -> Sealer:
    """Read the sealing key; with `make`, create its file if it does not exist.

    Raises InvalidSealingKey, with a hint for the operator.
    """
    if isinstance(sealing, bytes):
        return Sealer(decode_sealing_key(sealing, "the sealing key"))
    if not make and not sealing.exists():
        raise InvalidSealingKey(
            f"{sealing} is missing, and the signing keys in the database are sealed with it",
            hint="restore the file; if it is lost, write 32 random bytes to it and run"
            f" {REPLACE_COMMAND}",
            file=str(sealing),
        )
    return Sealer.from_file(sealing, make=make)


def unseal_keys(
    found: StoredKeys, sealer: Sealer, known: Mapping[str, UnsealedKey] = NO_KEYS
) -> UnsealedKeys:
    """Unseal all keys; a key in `known` whose row did not change is not unsealed again."""
    keys: dict[str, UnsealedKey] = {}
    damaged = []
    for row in found.rows:
        before = known.get(row.slot.kid)
        if before is not None and before.sealed == row.sealed:
            keys[row.slot.kid] = before
            continue
        try:
            keys[row.slot.kid] = UnsealedKey(sealed=row.sealed, key=_unseal_key(row, sealer))
        except InvalidSealingKey:
            damaged.append(row.slot.kid)
    return UnsealedKeys(keys=keys, damaged=[*damaged, *found.undated])


def _unseal_key(row: KeyRow, sealer: Sealer) -> AuthorityKey:
    """Unseal a stored key. Raises InvalidSealingKey."""
    try:
        key = key_material.from_pem(sealer.open(row.sealed, _key_context(row.slot.kid)))
    except (TypeError, ValueError, BadKey) as exc:
        raise InvalidSealingKey("the sealed value is not a key", kid=row.slot.kid) from exc
    if key.kid != row.slot.kid:
        raise InvalidSealingKey("the sealed value is another key", kid=row.slot.kid)
    return key


def unseal_token_seal(found: StoredKeys, sealer: Sealer) -> bytes | None:
    """Unseal the token seal; None if it is damaged or missing."""
    if found.seal is None:
        return None
    try:
        return sealer.open(found.seal, _SEAL_CONTEXT)
    except (TypeError, InvalidSealingKey):
        return None


def require_intact(found: StoredKeys, sealer: Sealer, known: Mapping[str, UnsealedKey]) -> None:
    """Check, before a process starts, that every key and the token seal can be unsealed.

    Raises InvalidSealingKey, DamagedKeysError.
    """
    unsealed = unseal_keys(found, sealer, known)
    has_seal = unseal_token_seal(found, sealer) is not None
    if not unsealed.keys and not has_seal:
        raise InvalidSealingKey(
            "the signing keys in the database are sealed with another key",
            hint="give every replica the sealing key file that the first replica started with; if it"
            f" is lost, {REPLACE_COMMAND} creates new keys under this one",
        )
    if unsealed.damaged or not has_seal:
        what = ", ".join(unsealed.damaged) or "the seal of refresh tokens"
        raise DamagedKeysError(
            f"in the database, {what} is damaged",
            hint="restore the database from a backup; a key that does not sign can be withdrawn with"
            f" {RETIRE_COMMAND}, and {REPLACE_COMMAND} creates new ones",
            kids=unsealed.damaged,
        )


def _key_context(kid: str) -> str:
    return f"authority-key:{kid}"
