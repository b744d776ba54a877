"""A secret with all its versions as one text, which is sealed and given away. Pure.

Whoever holds a backup can read nothing of it and change nothing in it: it is sealed with the instance's key,
for vaults of one tenant and subscription.
"""

import dataclasses
import json
from collections.abc import Sequence

from podpass.crypto.secret import Secret
from podpass.resource.model import SecretVersion

# Key Vault's own limit of versions; the bytes bound what one request may cost.
MAX_VERSIONS = 500
MAX_BYTES = 6 * 1024 * 1024
_KEPT = (
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


def place(owner: str) -> str:
    """Name what a backup is sealed for; no value of a secret has a line break in its place."""
    return f"backup\n{owner}"


def write(versions: Sequence[SecretVersion]) -> Secret:
    """Write the versions, oldest first."""
    kept = [
        {"value": one.value.reveal()} | {name: getattr(one, name) for name in _KEPT}
        for one in versions
    ]
    return Secret(json.dumps(kept, default=dict, ensure_ascii=False, separators=(",", ":")))


def read(text: Secret, vault: str) -> list[SecretVersion]:
    """Read the versions of a backup that has been opened, for another vault or the same."""
    blank = SecretVersion(vault=vault, name="", version="", ordinal=0, value=Secret(""))
    return [
        dataclasses.replace(blank, **{**one, "value": Secret(one["value"])})
        for one in json.loads(text.reveal())
    ]
