"""What the store has of a certificate: its versions with their views, and the settings of the object.

The sealed value of a version is its private key, in the form of a key's version; a backup contains it. The
document has the certificates. The settings have the policy and the last operation.
"""

import base64
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.crypto.x509 import PrivateKey
from podpass.lab.services.vault.certificates import policy as policies
from podpass.lab.services.vault.certificates import views
from podpass.lab.services.vault.certificates.policy import Policy
from podpass.lab.services.vault.keys import jwk
from podpass.lab.services.vault.keys import views as key_views
from podpass.lab.services.vault.model import (
    KEYS,
    SECRETS,
    ObjectState,
    SecretAttributes,
    SecretVersion,
    vault_of,
)

_MANAGED = {"managed": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSettings:
    """The settings of a certificate: its policy with its times, and the last operation as JSON."""

    policy: Policy
    created: int
    updated: int
    pending: dict[str, Any] | None = None

    @classmethod
    def of(cls, found: SecretVersion | ObjectState) -> Self:
        """Return the settings of a stored certificate."""
        stored = found.settings
        return cls(
            policy=policies.from_json(stored["policy"]),
            created=stored["created"],
            updated=stored["updated"],
            pending=stored.get("pending"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the settings for the store."""
        stored = {
            "policy": policies.to_json(self.policy),
            "created": self.created,
            "updated": self.updated,
        }
        return stored if self.pending is None else stored | {"pending": self.pending}


def view_shelves(shelf: str) -> tuple[str, str]:
    """Return the shelves of the keys and secrets that are views of the certificates of a shelf."""
    vault = vault_of(shelf)
    return f"{vault}{KEYS.suffix}", f"{vault}{SECRETS.suffix}"


def states_of(state: ObjectState) -> list[ObjectState]:
    """Return the states of a certificate, its key and its secret."""
    views_of_it = (
        ObjectState(vault=shelf, name=state.name, settings=_MANAGED)
        for shelf in view_shelves(state.vault)
    )
    return [state, *views_of_it]


def new_version(
    state: ObjectState,
    certificates: Sequence[x509.Certificate],
    key: PrivateKey,
    attributes: SecretAttributes,
    now: float,
) -> SecretVersion:
    """Return a version of a certificate to write; the leaf is the first of `certificates`."""
    policy = CertificateSettings.of(state).policy
    begins, ends = views.lifetime(certificates[0])
    encoded = [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in certificates]
    return SecretVersion(
        vault=state.vault,
        name=state.name,
        version=uuid.uuid4().hex,
        ordinal=0,
        value=key_views.stored_value(key),
        content_type=policy.content_type,
        tags=attributes.tags,
        enabled=attributes.enabled,
        not_before=begins,
        expires=ends,
        created=int(now),
        updated=int(now),
        document={
            "x5t": views.thumbprint(certificates[0]),
            "x5c": encoded,
            "exportable": policy.key.exportable,
        },
    )


def certificates_of(version: SecretVersion) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a version, the leaf first."""
    encoded = (base64.b64decode(each) for each in version.document["x5c"])
    return tuple(map(x509.load_der_x509_certificate, encoded))


def key_of(version: SecretVersion) -> PrivateKey:
    """Return the private key of a version."""
    return key_views.load(version.value)


def with_views(version: SecretVersion) -> list[SecretVersion]:
    """Return a version of a certificate, its key and its secret, all with the same ID."""
    certificates, key = certificates_of(version), key_of(version)
    keys, secrets = view_shelves(version.vault)
    shown = replace(
        version,
        vault=keys,
        content_type=None,
        document=jwk.describe(key, views.list_operations(certificates[0])),
    )
    exported = key if version.document["exportable"] else None
    secret = replace(
        version,
        vault=secrets,
        value=views.secret_value(certificates, exported, version.content_type or ""),
        document={},
    )
    return [version, shown, secret]
