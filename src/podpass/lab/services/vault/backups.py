"""Serialize an object with all its versions for a backup. Pure.

A backup is sealed with the key of the instance, for vaults of one tenant and subscription, so its owner can
neither read nor change it.
"""

import dataclasses
import json
from collections.abc import Sequence

from podpass.crypto.secret import Secret
from podpass.lab.services.vault.model import ObjectVersion

# The number of versions is Key Vault's limit. The limit of bytes bounds the cost of a request, also of a
# client that does not read the response. A backup of an older podpass can have up to MAX_RESTORED_BYTES.
MAX_VERSIONS = 500
MAX_BYTES = 2 * 1024 * 1024
MAX_RESTORED_BYTES = 6 * 1024 * 1024
_STORED_FIELDS = (
    "name",
    "version",
    "content_type",
    "tags",
    "enabled",
    "not_before",
    "expires",
    "created",
    "updated",
)


def seal_context(owner: str) -> str:
    """Return the seal context of a backup; with its line break it differs from every context of a value."""
    return f"backup\n{owner}"


def serialize(versions: Sequence[ObjectVersion]) -> Secret:
    """Serialize the versions, oldest first."""
    items = [
        {"value": one.value.reveal()}
        | {name: getattr(one, name) for name in _STORED_FIELDS}
        # Older versions of podpass restore secrets, and know no other fields.
        | {name: found for name in ("document", "settings") if (found := getattr(one, name))}
        for one in versions
    ]
    return Secret(json.dumps(items, default=dict, ensure_ascii=False, separators=(",", ":")))


def deserialize(text: Secret, vault: str) -> list[ObjectVersion]:
    """Deserialize the versions of an unsealed backup, for any vault of the owner."""
    blank = ObjectVersion(collection=vault, name="", version="", ordinal=0, value=Secret(""))
    return [
        dataclasses.replace(blank, **{**one, "value": Secret(one["value"])})
        for one in json.loads(text.reveal())
    ]
