"""What the vaults do by their clock: the rotation of keys and the renewal of certificates."""

import logging
from collections.abc import Awaitable, Callable, Mapping

from podpass import names
from podpass.database import DatabaseFailed
from podpass.errors import Error
from podpass.lab.services.vault.authorization import VaultDirectory
from podpass.lab.services.vault.certificates import issuing
from podpass.lab.services.vault.keys import rotation
from podpass.lab.services.vault.model import (
    CERTIFICATES,
    KEYS,
    AuditContext,
    ObjectState,
    kind_of,
    vault_key,
    vault_of,
)
from podpass.lab.services.vault.store import SecretStore

_log = logging.getLogger(__name__)
# The action gets the object, and an audit context without an action.
_ACTIONS: Mapping[str, Callable[[SecretStore, ObjectState, AuditContext], Awaitable[None]]] = {
    KEYS.suffix: rotation.rotate_due,
    CERTIFICATES.suffix: issuing.run_due,
}


async def run(directory: VaultDirectory, store: SecretStore, now: float) -> None:
    """Run the actions that are due. An action that fails does not prevent the others."""
    found = await store.due(now)
    if not found:
        return
    vaults = {vault_key(vault): vault for vault in await directory.list_vaults()}
    for each in found:
        # The objects of a deleted vault stay as they are.
        if (vault := vaults.get(vault_of(each.vault))) is None:
            continue
        kind, base = kind_of(each.vault), f"https://{vault.name}.{names.VAULT_SUFFIX}"
        try:
            await _ACTIONS[kind.suffix](store, each, AuditContext(action="", base=base, now=now))
        except DatabaseFailed:
            raise
        except Error as exc:
            extra = {"stage": "resource", "vault": vault.name, kind.noun: each.name, **exc.facts}
            _log.error("vault_action_failed", extra={**extra, "cause": exc.message})
