"""Write versions of keys, and run the actions of their rotation policies."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf

from podpass.crypto.x509 import PrivateKey
from podpass.directory.roles import KEYS as ACTIONS
from podpass.lab.services.vault import errors
from podpass.lab.services.vault.errors import OutdatedState
from podpass.lab.services.vault.keys import jwk, parameters, views
from podpass.lab.services.vault.keys.rotation_policy import NOTIFY, ROTATE
from podpass.lab.services.vault.model import (
    KEYS,
    AuditContext,
    ObjectAttributes,
    ObjectState,
    ObjectVersion,
    new_version,
)
from podpass.lab.services.vault.store import Restored, VaultStore

_log = logging.getLogger(__name__)

ROTATE_KEY = f"{ACTIONS}/rotate/action"
# A change of the same key by another request is rare, several in sequence are rarer.
_ATTEMPTS = 5


def new_key_version(
    collection: str,
    name: str,
    key: PrivateKey,
    operations: Sequence[str],
    attributes: ObjectAttributes,
    now: float,
) -> ObjectVersion:
    """Return a version to write."""
    made = new_version(collection, name, views.stored_value(key), attributes, now)
    return replace(made, content_type=None, document=jwk.describe(key, operations))


def plan(state: ObjectState, latest: ObjectVersion) -> ObjectState:
    """Return a key's state with the time of the next action of its policy, if it has one."""
    return replace(state, next_action=min(_times(state, latest).values(), default=None))


def _times(state: ObjectState, latest: ObjectVersion) -> dict[str, int]:
    if "rotation" not in state.settings:
        return {}
    due = views.policy(state).times(latest.created, latest.expires)
    if state.settings.get("notified") == latest.version:
        due.pop(NOTIFY, None)
    return due


async def put(store: VaultStore, new: ObjectVersion, audit: AuditContext) -> ObjectVersion:
    """Write a version, and when the key is rotated next. Raises NameTaken, ManagedObject."""
    for _ in range(_ATTEMPTS):
        state = await store.find(new.collection, new.name)
        if state is None or "rotation" not in state.settings:
            return await store.put([new], audit)
        try:
            return await store.put([new], audit, states=[plan(state, new)], expected=state)
        except OutdatedState:
            continue
    raise OutdatedState("Other requests change the key at the same time.")


async def change_settings(
    store: VaultStore,
    collection: str,
    name: str,
    change: Callable[[ObjectState], ObjectState] = lambda state: state,
    audit: AuditContext | None = None,
) -> ObjectVersion | None:
    """Change a key's settings and when it is rotated next; return its latest version, None without a key.

    Raises ManagedObject.
    """
    for _ in range(_ATTEMPTS):
        state = await store.find(collection, name)
        latest = await store.get(collection, name)
        if state is None or latest is None:
            return None
        if state.managed:
            raise errors.managed(KEYS, state.name)
        changed = plan(change(state), latest)
        try:
            await store.put_states([changed], audit, expected=state)
        except OutdatedState:
            continue
        return replace(latest, settings=changed.settings)
    raise OutdatedState("Other requests change the key at the same time.")


def generate_next(latest: ObjectVersion, now: float) -> ObjectVersion:
    """Return the next version, like the latest one, with the lifetime of the policy."""
    key = parameters.like(views.load(latest.value).public_key()).generate()
    lifetime = views.policy(latest).expiry
    attributes = ObjectAttributes(
        given=frozenset(),
        tags=latest.tags,
        expires=None if lifetime is None else lifetime.after(int(now)),
    )
    operations = views.permitted(latest)
    return new_key_version(latest.collection, latest.name, key, operations, attributes, now)


async def run_due(store: VaultStore, found: ObjectState, audit: AuditContext) -> None:
    """Rotate a key whose rotation is due, or report that it expires soon.

    Raises OutdatedState if another request changes the key.
    """
    if (latest := await store.get(found.collection, found.name)) is None:
        return
    if _times(found, latest).get(ROTATE, inf) <= audit.now:
        new = await asyncio.to_thread(generate_next, latest, audit.now)
        rotated = replace(audit, action=ROTATE_KEY)
        await store.put([new], rotated, states=[plan(found, new)], expected=found)
        return
    _log.info("key_expiry_reported", extra={"stage": "resource", "key": found.name})
    noted = replace(found, settings={**found.settings, "notified": latest.version})
    await store.put_states([plan(noted, latest)], expected=found)


def restore(found: Sequence[ObjectVersion]) -> Restored:
    """Return what to write for a backup: its versions, the rotation policy, the next rotation."""
    latest = found[-1]
    state = ObjectState(collection=latest.collection, name=latest.name, settings=latest.settings)
    return found, [plan(state, latest)]
