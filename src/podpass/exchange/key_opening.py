"""Which of the stored keys open, and what is to be done where one does not.

Nothing starts on keys of which one is damaged; who runs already goes on with what it opened before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from podpass.errors import Error
from podpass.exchange import key_rows
from podpass.exchange.key_material import AuthorityKey
from podpass.exchange.key_rows import RETIRE, Found, Row
from podpass.exchange.sealing_key import REPLACE
from podpass.sealing import Sealer, SealingKeyUnfit


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
    has_seal = key_rows.open_seal(found, sealer) is not None
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
    return OpenedKey(sealed=row.sealed, key=key_rows.open_key(row, sealer))
