"""Changes of the signing keys: each function runs in one write transaction.

Write transactions are serialized, so if two replicas create a key at the same time, only one key is created.
Each function returns the events that the caller logs after the commit.
"""

import os
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from podpass.crypto.envelope import KEY_BYTES, Sealer
from podpass.exchange.signing import key_store
from podpass.exchange.signing import schedule as key_schedule
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.signing.key_store import StoredKeys
from podpass.exchange.signing.schedule import KeySchedule

LogEvent = tuple[str, dict[str, object]]


def initialize(
    connection: Connection,
    sealer: Sealer,
    schedule: KeySchedule,
    *,
    made: Sequence[AuthorityKey],
    now: float,
) -> Sequence[LogEvent]:
    """Store the first keys in an empty database, unless another replica has already stored them."""
    if not key_store.read_keys(connection).is_empty:
        return []
    _add_first(connection, sealer, schedule, made, now)
    key_store.replace_token_seal(connection, sealer, os.urandom(KEY_BYTES), created=now)
    return []


def reconcile(
    connection: Connection,
    sealer: Sealer,
    schedule: KeySchedule,
    *,
    made: Sequence[AuthorityKey],
    expired: Iterable[str],
    now: float,
) -> Sequence[LogEvent]:
    """Store the next key, reschedule a misplaced key, delete expired keys.

    `made` holds a new key if the last read showed that one is due.
    """
    slots = key_store.read_schedule(connection)
    if not slots:
        return []  # another program emptied the table
    events: list[LogEvent] = []
    old = {slot.kid for slot in key_schedule.list_out_of_use(slots, now)}
    if removed := old.intersection(expired):
        key_store.delete_keys(connection, removed)
        events.append(("signing_keys_removed", {"kids": sorted(removed)}))
    due = key_schedule.next_activation(slots, now, schedule)
    if due is not None and made:
        key_store.insert_key(connection, sealer, made[0], created=now, activates=due)
        events.append(("signing_key_created", {"kid": made[0].kid, "activates": due}))
    elif misplaced := key_schedule.find_misplaced(slots, now, schedule):
        slot, activates = misplaced
        key_store.set_activation(connection, slot.kid, activates)
        events.append(("signing_key_rescheduled", {"kid": slot.kid, "activates": activates}))
    return events


def activate_earlier(
    connection: Connection, schedule: KeySchedule, *, replaces: str, at_once: bool, now: float
) -> Sequence[LogEvent]:
    """Activate the next key earlier, unless the key that it should replace is already replaced."""
    planned = key_schedule.plan_early_rotation(
        key_store.read_schedule(connection), now, schedule, replaces=replaces, at_once=at_once
    )
    if planned is None:
        return []
    slot, activates = planned
    key_store.set_activation(connection, slot.kid, activates)
    return [("signing_key_brought_forward", {"kid": slot.kid, "activates": activates})]


def withdraw(connection: Connection, sealer: Sealer, kid: str, *, now: float) -> Sequence[LogEvent]:
    """Delete a key that is out of use, is damaged and not active yet, or has no readable activation time.

    The result is empty for any other key.
    """
    found = key_store.read_keys(connection)
    free = {slot.kid for slot in key_schedule.list_out_of_use(found.slots, now)}
    if kid not in free | _find_unusable_keys(found, sealer, now):
        return []
    # A key ID that is not valid text was converted for the list, and matches no row.
    deleted = key_store.delete_keys(connection, [kid])
    return [("signing_key_withdrawn", {"kid": kid})] if deleted else []


def _find_unusable_keys(found: StoredKeys, sealer: Sealer, now: float) -> set[str]:
    """Find the keys that can never sign; none if no key is intact."""
    unsealed = key_store.unseal_keys(found, sealer)
    if not unsealed.keys:
        return set()  # the sealing key may be the wrong one, and the keys may be intact
    current = key_schedule.active_key(found.slots, now)
    later = {slot.kid for slot in found.slots if slot.order > current.order}
    return later.intersection(unsealed.damaged).union(found.undated)


def replace_all(
    connection: Connection,
    sealer: Sealer,
    schedule: KeySchedule,
    *,
    made: Sequence[AuthorityKey],
    now: float,
) -> Sequence[LogEvent]:
    """Replace all keys, and the token seal, by new ones."""
    key_store.delete_all_keys(connection)
    _add_first(connection, sealer, schedule, made, now)
    # With the old token seal, an attacker could forge refresh tokens and redeem them for new access tokens.
    key_store.replace_token_seal(connection, sealer, os.urandom(KEY_BYTES), created=now)
    return [("signing_keys_replaced", {"kids": [key.kid for key in made]})]


def _add_first(
    connection: Connection,
    sealer: Sealer,
    schedule: KeySchedule,
    made: Sequence[AuthorityKey],
    now: float,
) -> None:
    for key, activates in zip(made, key_schedule.initial_activations(now, schedule), strict=False):
        key_store.insert_key(connection, sealer, key, created=now, activates=activates)
