"""What the store has of a version of a key, and what the vault shows of it.

The sealed value is the private key. The document has the public key and the permitted operations.
"""

from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives import serialization

from podpass.crypto.secret import Secret
from podpass.crypto.x509 import PrivateKey
from podpass.database import decoding_row
from podpass.lab.services.vault import wire
from podpass.lab.services.vault.key_types import encode_key
from podpass.lab.services.vault.keys import rotation_policy
from podpass.lab.services.vault.model import KEYS, ObjectState, ObjectVersion

_LOADED_KEYS = 128


def stored_value(key: PrivateKey) -> Secret:
    """Return the value that the store seals."""
    return Secret(encode_key(key).decode())


def load(stored: Secret) -> PrivateKey:
    """Return the private key in a stored value."""
    return _load(stored.reveal())  # two values with one text are different objects


@lru_cache(_LOADED_KEYS)
def _load(text: str) -> PrivateKey:
    """Load a key. OpenSSL prepares it at its first use, for 0.3 ms.

    The check of the key is omitted: it takes 0.2 s for RSA 4096.
    """
    key = serialization.load_pem_private_key(
        text.encode(), None, unsafe_skip_rsa_key_validation=True
    )
    assert isinstance(key, PrivateKey)
    return key


def permitted(version: ObjectVersion) -> tuple[str, ...]:
    """Return the permitted operations of a version."""
    return tuple(version.document["key_ops"])


def policy(found: ObjectVersion | ObjectState) -> rotation_policy.KeyRotationPolicy:
    """Return the rotation policy of a key. Raises CorruptRowError."""
    stored = found.settings.get("rotation")
    if stored is None:
        return rotation_policy.KeyRotationPolicy()
    with decoding_row("secrets", f"{found.collection}/{found.name.lower()}"):
        return rotation_policy.from_json(stored)


def bundle(site: wire.VaultContext, version: ObjectVersion) -> dict[str, Any]:
    """Return the JSON of a version with its public key."""
    public = dict(version.document["jwk"])
    key = {"kid": key_id(site, version), "kty": public.pop("kty")}
    return {
        "key": {**key, "key_ops": list(permitted(version)), **public},
        **_attributes(site, version),
    }


def item(site: wire.VaultContext, found: ObjectVersion, *, version: bool) -> dict[str, Any]:
    """Return the JSON of a key in a list."""
    return {"kid": key_id(site, found, version=version), **_attributes(site, found)}


def key_id(site: wire.VaultContext, found: ObjectVersion, *, version: bool = True) -> str:
    """Return the ID of a key, or of one version of it."""
    return wire.object_id(site, found, KEYS, version=version)


def policy_json(site: wire.VaultContext, version: ObjectVersion) -> dict[str, Any]:
    """Return the JSON of the rotation policy; one that was never set has no ID."""
    found = policy(version)
    address = f"{key_id(site, version, version=False)}/rotationpolicy"
    return {
        **({"id": address} if found.created is not None else {}),
        **rotation_policy.to_json(found),
    }


def _attributes(site: wire.VaultContext, version: ObjectVersion) -> dict[str, Any]:
    shown: dict[str, Any] = {"attributes": wire.attributes(site, version) | {"exportable": False}}
    if version.tags:
        shown["tags"] = dict(version.tags)
    if version.managed:
        shown["managed"] = True
    return shown
