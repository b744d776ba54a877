"""What is agreed on about signing keys: each change is one step in one transaction that writes.

Writers come one at a time, so what a step decides on what it reads is decided once: two replicas that make
a key at the same moment make one. What a step gives is for the log, once it is committed.
"""

import os
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from podpass.crypto.envelope import KEY_BYTES, Sealer
from podpass.exchange.signing import key_store
from podpass.exchange.signing import schedule as key_schedule
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.signing.key_store import Found
from podpass.exchange.signing.legacy_files import OldKeys
from podpass.exchange.signing.schedule import Schedule

Told = tuple[str, dict[str, object]]


def begin(
    connection: Connection,
    sealer: Sealer,
    schedule: Schedule,
    *,
    old: OldKeys | None,
    made: Sequence[AuthorityKey],
    now: float,
) -> Sequence[Told]:
    """Fill a database that has no keys, unless another replica has done it meanwhile."""
    if not key_store.read(connection).is_empty:
        return []
    for each in old.keys if old is not None else ():
        key_store.add(connection, sealer, each.key, created=each.created, activates=each.activates)
    _add_first(connection, sealer, schedule, made, now)
    seal = (old.seal if old is not None else None) or os.urandom(KEY_BYTES)
    key_store.put_seal(connection, sealer, seal, created=now)
    return []


def keep(
    connection: Connection,
    sealer: Sealer,
    schedule: Schedule,
    *,
    made: Sequence[AuthorityKey],
    spent: Iterable[str],
    now: float,
) -> Sequence[Told]:
    """Put in the key that has to come, put a misplaced one right, delete those that are spent.

    Shapes:  `made` holds a key, if one was due when it was last read.
    """
    slots = key_store.slots(connection)
    if not slots:
        return []  # somebody emptied the table: nothing of it can be kept
    told: list[Told] = []
    old = {slot.kid for slot in key_schedule.out_of_use(slots, now)}
    if gone := old.intersection(spent):
        key_store.remove(connection, gone)
        told.append(("signing_keys_removed", {"kids": sorted(gone)}))
    turn = key_schedule.due(slots, now, schedule)
    if turn is not None and made:
        key_store.add(connection, sealer, made[0], created=now, activates=turn)
        told.append(("signing_key_made", {"kid": made[0].kid, "activates": turn}))
    elif wrong := key_schedule.misplaced(slots, now, schedule):
        key_store.move(connection, wrong[0].kid, wrong[1])
        told.append(("signing_key_put_right", {"kid": wrong[0].kid, "activates": wrong[1]}))
    return told


def bring_forward(
    connection: Connection, schedule: Schedule, *, replaces: str, at_once: bool, now: float
) -> Sequence[Told]:
    """Let the coming key sign sooner, unless the one it replaces is replaced already."""
    turn = key_schedule.brought_forward(
        key_store.slots(connection), now, schedule, replaces=replaces, at_once=at_once
    )
    if turn is None:
        return []
    key_store.move(connection, turn[0].kid, turn[1])
    return [("signing_key_moved", {"kid": turn[0].kid, "activates": turn[1]})]


def withdraw(connection: Connection, sealer: Sealer, kid: str, *, now: float) -> Sequence[Told]:
    """Delete a key that is out of use, or damaged and to come, or of which nobody can tell when it signs.

    Shapes:  tells nothing where it is none of them.
    """
    found = key_store.read(connection)
    free = {slot.kid for slot in key_schedule.out_of_use(found.slots, now)}
    if kid not in free | _lost(found, sealer, now):
        return []
    # A name that is no text is told as one, and is no row's.
    gone = key_store.remove(connection, [kid])
    return [("signing_key_withdrawn", {"kid": kid})] if gone else []


def _lost(found: Found, sealer: Sealer, now: float) -> set[str]:
    """Find keys that nobody can sign with any more, while others are left."""
    looked = key_store.open_all(found, sealer)
    if not looked.keys:
        return set()  # it is the sealing key that is another one
    signs = key_schedule.active(found.slots, now)
    later = {slot.kid for slot in found.slots if slot.order > signs.order}
    return later.intersection(looked.damaged).union(found.timeless)


def replace_all(
    connection: Connection,
    sealer: Sealer,
    schedule: Schedule,
    *,
    made: Sequence[AuthorityKey],
    now: float,
) -> Sequence[Told]:
    """Put new keys in the place of all others, that of refresh tokens too."""
    key_store.remove_all(connection)
    _add_first(connection, sealer, schedule, made, now)
    # Whoever has the old one can write refresh tokens, and with them get access tokens of the new keys.
    key_store.put_seal(connection, sealer, os.urandom(KEY_BYTES), created=now)
    return [("signing_keys_replaced", {"kids": [key.kid for key in made]})]


def _add_first(
    connection: Connection,
    sealer: Sealer,
    schedule: Schedule,
    made: Sequence[AuthorityKey],
    now: float,
) -> None:
    for key, turn in zip(made, key_schedule.first(now, schedule), strict=False):
        key_store.add(connection, sealer, key, created=now, activates=turn)
