"""Data types of Key Vault: vaults, their objects, versions and attributes. Times are seconds since 1970."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from podpass.crypto.secret import Secret
from podpass.directory import naming, resource_ids
from podpass.directory.model import VAULT_TYPE, AccessPolicy, AuditEntry
from podpass.directory.store import audit_writer

TYPE = VAULT_TYPE
_MAX_DAYS = 90
_NAME = re.compile(r"[a-z](?:-?[a-z0-9]){2,23}")


class VaultAccess(StrEnum):
    """How a vault authorizes callers: by role assignments or by its access policies."""

    ROLES = "rbac"
    POLICIES = "access-policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """A key vault; `name` is the first label of its host name, lower case.

    `uid` identifies its secrets, so that a vault never has the secrets of a purged vault of its name.
    """

    name: str
    tenant_id: str
    location: str
    resource_id: str
    uid: str = ""
    access: VaultAccess = VaultAccess.ROLES
    policies: tuple[AccessPolicy, ...] = ()
    retention_days: int = 90
    purge_protection: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    created: float = 0
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedVault:
    """A soft-deleted vault. It can be recovered until `purge_on`."""

    vault: Vault
    deleted: float
    purge_on: float


def vault_id(subscription_id: str, group: str, name: str) -> str:
    """Return the id of a key vault."""
    return f"{resource_ids.group_id(subscription_id, group)}/providers/{TYPE}/{name}"


def vault_name_fault(name: str) -> naming.Fault | None:
    """Return the fault of a vault name, or None."""
    if _NAME.fullmatch(name) and len(name) <= 24:
        return None
    return naming.Fault(
        field="name",
        message=f"name {name!r}: want 3 to 24 lower-case letters, digits and single '-',"
        " beginning with a letter and ending with a letter or digit",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of objects of a vault; `suffix` is the end of the key of their collection.

    `owner` is the noun of the kind whose paths and permissions include those of this one. `document` and
    `settings` have the members, with their types, of each version's document and of each object's settings.
    """

    noun: str
    suffix: str
    owner: str = ""
    document: tuple[tuple[str, type], ...] = ()
    settings: tuple[tuple[str, type], ...] = ()

    @property
    def plural(self) -> str:
        return f"{self.noun}s"

    @property
    def path(self) -> str:
        """Return the path of the objects in the vault."""
        return f"{self.owner}s/{self.plural}" if self.owner else self.plural

    @property
    def permission_noun(self) -> str:
        """Return the noun of the permissions in access policies."""
        return self.owner or self.noun

    @property
    def wire_name(self) -> str:
        """Return the name in the codes of errors."""
        return self.noun.capitalize()


# A collection of secrets has no suffix: older versions of podpass had secrets only.
SECRETS = Kind(noun="secret", suffix="")
KEYS = Kind(noun="key", suffix="/keys", document=(("jwk", dict), ("key_ops", list)))
CERTIFICATES = Kind(
    noun="certificate",
    suffix="/certificates",
    document=(("x5t", str), ("x5c", list), ("exportable", bool)),
    settings=(("policy", dict), ("created", int), ("updated", int)),
)
# Objects without versions: the issuers of certificates, and the contacts of a vault.
ISSUERS = Kind(
    noun="issuer",
    suffix="/issuers",
    owner="certificate",
    settings=(("provider", str), ("enabled", bool), ("organization", dict)),
)
CONTACTS = Kind(
    noun="contact", suffix="/contacts", owner="certificate", settings=(("contacts", list),)
)
_BY_SUFFIX = {each.suffix: each for each in (SECRETS, KEYS, CERTIFICATES, ISSUERS, CONTACTS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPolicy:
    """How long deleted secrets of a vault can be recovered, and whether callers may purge them earlier."""

    days: int = _MAX_DAYS
    purgeable: bool = True

    @property
    def level(self) -> str:
        """Return Key Vault's recovery level; a shorter retention makes it "Customized"."""
        level = "Recoverable" if self.days == _MAX_DAYS else "CustomizedRecoverable"
        return f"{level}+Purgeable" if self.purgeable else level


def recovery_policy(vault: Vault) -> RecoveryPolicy:
    """Return the recovery policy of a vault."""
    return RecoveryPolicy(days=vault.retention_days, purgeable=not vault.purge_protection)


def vault_key(vault: Vault) -> str:
    """Return the key under which a vault's objects are stored: its ID, or its name if it has none."""
    return vault.uid or vault.name


def collection_of(vault: Vault, kind: Kind) -> str:
    """Return the key of a collection: the objects of one kind in one vault."""
    return f"{vault_key(vault)}{kind.suffix}"


def list_collections(vault: str) -> list[str]:
    """Return the collections of a vault, by its key."""
    return [f"{vault}{suffix}" for suffix in _BY_SUFFIX]


def vault_of(collection: str) -> str:
    """Return the key of the vault that a collection belongs to."""
    return collection.partition("/")[0]


def kind_of(collection: str) -> Kind:
    """Return the kind of the objects in a collection."""
    return _BY_SUFFIX[collection.removeprefix(vault_of(collection))]


def backup_owner(vault: Vault, kind: Kind = SECRETS) -> str:
    """Return the owner of backups: a backup can be restored only in the same tenant and subscription.

    A backup of one kind is none of another kind.
    """
    parts = vault.resource_id.lower().split("/")
    subscription = parts[2] if parts[1:2] == ["subscriptions"] and len(parts) > 2 else ""
    return f"{vault.tenant_id}\n{subscription}{kind.suffix}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectState:
    """An object without its versions.

    `settings` is JSON, such as a rotation policy; `next_action` is the time of the next rotation or renewal.
    """

    collection: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    next_action: int | None = None
    deleted: int | None = None
    purge_on: int | None = None

    @property
    def managed(self) -> bool:
        """Return whether the object is a view of a certificate."""
        return self.settings.get("managed") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingObject:
    """An object that does not exist, as the expected state of a write."""

    collection: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectVersion:
    """One version of a secret, a key or a certificate.

    `version` is 32 hex digits; `ordinal` increases with every version, so the latest
    version has the highest one, independent of the clock. `document` is JSON that is not sealed. `settings`,
    `deleted` and `purge_on` belong to the object, and are the same for all its versions.
    """

    collection: str
    name: str
    version: str
    ordinal: int
    value: Secret
    content_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None
    created: int = 0
    updated: int = 0
    document: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    deleted: int | None = None
    purge_on: int | None = None

    @property
    def managed(self) -> bool:
        """Return whether the object is a view of a certificate."""
        return self.settings.get("managed") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAttributes:
    """The attributes that a caller sets; a field that is not in `given` keeps its value or its default."""

    given: frozenset[str]
    content_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None
    document: Mapping[str, Any] = field(default_factory=dict)


def new_version(
    collection: str, name: str, value: Secret, attributes: ObjectAttributes, now: float
) -> ObjectVersion:
    """Return a version to write, with an ID of its own."""
    return ObjectVersion(
        collection=collection,
        name=name,
        version=uuid.uuid4().hex,
        ordinal=0,
        value=value,
        content_type=attributes.content_type,
        tags=attributes.tags,
        enabled=attributes.enabled,
        not_before=attributes.not_before,
        expires=attributes.expires,
        created=int(now),
        updated=int(now),
        document=attributes.document,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditContext:
    """The values of an audit entry: the action, the base URL of the vault's objects, the time."""

    action: str
    base: str
    now: float

    def entry(self, found: "ObjectState | ObjectVersion", *, deleted: bool = False) -> AuditEntry:
        """Return the audit entry of the change of an object or a version."""
        path = f"{'deleted' if deleted else ''}{kind_of(found.collection).path}/{found.name}"
        if isinstance(found, ObjectVersion):
            path = f"{path}/{found.version}"
        return audit_writer.create_entry(self.action, f"{self.base}/{path}", self.now)
