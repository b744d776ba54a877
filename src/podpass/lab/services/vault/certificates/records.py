"""The stored form of a certificate: its versions with their views, and the settings of the object.

The sealed value of a version is its private key, in the form of a key's version; a backup contains it. The
document has the certificates. The settings have the policy and the last operation; its private key is sealed
for this certificate.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from podpass.crypto.secret import Secret
from podpass.crypto.x509 import PrivateKey
from podpass.database import decoding_row
from podpass.lab.services.vault.certificates import issuance, views
from podpass.lab.services.vault.certificates import policy as policies
from podpass.lab.services.vault.certificates.pending import COMPLETED, PendingOperation
from podpass.lab.services.vault.certificates.policy import Policy
from podpass.lab.services.vault.keys import jwk
from podpass.lab.services.vault.keys import views as key_views
from podpass.lab.services.vault.model import (
    KEYS,
    SECRETS,
    ObjectAttributes,
    ObjectState,
    ObjectVersion,
    new_version,
    vault_of,
)

_MANAGED = {"managed": True}
# The members of a version's document that its secret shows.
_SECRET = ("previous",)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSettings:
    """The settings of a certificate: its policy with its times, and the last operation.

    `notified` is the ID of the version whose expiry was reported to the contacts.
    """

    policy: Policy
    created: int
    updated: int
    pending: PendingOperation | None = None
    notified: str | None = None

    @classmethod
    def of(cls, found: ObjectVersion | ObjectState) -> Self:
        """Return the settings of a stored certificate. Raises CorruptRowError."""
        stored = found.settings
        pending = stored.get("pending")
        with decoding_row("secrets", f"{found.collection}/{found.name.lower()}"):
            return cls(
                policy=policies.from_json(stored["policy"]),
                created=stored["created"],
                updated=stored["updated"],
                pending=None if pending is None else PendingOperation.from_json(pending),
                notified=stored.get("notified"),
            )

    def to_json(self) -> dict[str, Any]:
        """Return the settings for the store."""
        stored = {
            "policy": policies.to_json(self.policy),
            "created": self.created,
            "updated": self.updated,
        }
        if self.pending is not None:
            stored["pending"] = self.pending.to_json()
        if self.notified is not None:
            stored["notified"] = self.notified
        return stored


def view_collections(collection: str) -> tuple[str, str]:
    """Return the collections of the keys and secrets that are views of the certificates of a collection."""
    vault = vault_of(collection)
    return f"{vault}{KEYS.suffix}", f"{vault}{SECRETS.suffix}"


def states_of(state: ObjectState) -> list[ObjectState]:
    """Return the states of a certificate, its key and its secret."""
    views_of_it = (
        ObjectState(collection=collection, name=state.name, settings=_MANAGED)
        for collection in view_collections(state.collection)
    )
    return [state, *views_of_it]


def new_certificate_version(
    state: ObjectState,
    certificates: Sequence[x509.Certificate],
    key: PrivateKey,
    attributes: ObjectAttributes,
    now: float,
    *,
    version: str = "",
    previous: ObjectVersion | None = None,
) -> ObjectVersion:
    """Return a version of a certificate to write; the leaf is the first of `certificates`.

    `previous` is the latest version, which the secret of the new one names.
    """
    policy = CertificateSettings.of(state).policy
    begins, ends = views.lifetime(certificates[0])
    encoded = [base64.b64encode(each.public_bytes(Encoding.DER)).decode() for each in certificates]
    made = new_version(state.collection, state.name, key_views.stored_value(key), attributes, now)
    return replace(
        made,
        version=version or made.version,
        content_type=policy.content_type,
        not_before=begins,
        expires=ends,
        document={
            "x5t": views.thumbprint(certificates[0]),
            "x5c": encoded,
            "exportable": policy.key.exportable,
            **({} if previous is None else {"previous": previous.version}),
            **attributes.document,
        },
    )


def unissued_version(state: ObjectState) -> ObjectVersion | None:
    """Return the version that is shown if a certificate has none: disabled, and without a certificate.

    None if the certificate has versions. Raises CorruptRowError.
    """
    settings = CertificateSettings.of(state)
    operation = settings.pending
    if operation is None or operation.status == COMPLETED:
        return None
    begins, ends = issuance.validity(
        settings.policy, datetime.fromtimestamp(operation.created, UTC)
    )
    return ObjectVersion(
        collection=state.collection,
        name=state.name,
        version=operation.version,
        ordinal=0,
        value=Secret(""),
        tags=operation.tags,
        enabled=False,
        not_before=int(begins.timestamp()),
        expires=int(ends.timestamp()),
        created=operation.created,
        updated=operation.created,
        settings=state.settings,
        deleted=state.deleted,
        purge_on=state.purge_on,
    )


def certificates_of(version: ObjectVersion) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a version, the leaf first."""
    encoded = (base64.b64decode(each) for each in version.document["x5c"])
    return tuple(map(x509.load_der_x509_certificate, encoded))


def key_of(version: ObjectVersion) -> PrivateKey:
    """Return the private key of a version."""
    return key_views.load(version.value)


def with_views(version: ObjectVersion) -> list[ObjectVersion]:
    """Return a version of a certificate, its key and its secret, all with the same ID."""
    certificates, key = certificates_of(version), key_of(version)
    keys, secrets = view_collections(version.collection)
    shown = replace(
        version,
        collection=keys,
        content_type=None,
        document=jwk.describe(key, views.list_operations(certificates[0])),
    )
    exported = key if version.document["exportable"] else None
    secret = replace(
        version,
        collection=secrets,
        value=views.secret_value(certificates, exported, version.content_type or ""),
        document={name: version.document[name] for name in _SECRET if name in version.document},
    )
    return [version, shown, secret]
