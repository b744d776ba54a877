"""Data types of the vault: versions of a secret, and its attributes. Times are seconds since 1970."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from podpass.crypto.secret import Secret
from podpass.directory.model import AuditEntry, Vault
from podpass.directory.store import audit_writer

_MAX_DAYS = 90


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
    """Return the key under which a vault's secrets are stored: its ID, or its name if it has none."""
    return vault.uid or vault.name


def backup_owner(vault: Vault) -> str:
    """Return the owner of backups: a backup can be restored only in the same tenant and subscription."""
    parts = vault.resource_id.lower().split("/")
    subscription = parts[2] if parts[1:2] == ["subscriptions"] and len(parts) > 2 else ""
    return f"{vault.tenant_id}\n{subscription}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """One version of a secret.

    `vault` is the key of the vault; `version` is 32 hex digits; `ordinal` increases with every version, so
    the latest version has the highest one, independent of the clock. `deleted` and `purge_on` are set for all
    versions of a deleted secret.
    """

    vault: str
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
    deleted: int | None = None
    purge_on: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretAttributes:
    """The attributes that a caller sets; a field that is not in `given` keeps its value or its default."""

    given: frozenset[str]
    content_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditContext:
    """The values of an audit entry: the action, the base URL of the vault's secrets, the time."""

    action: str
    base: str
    now: float

    def entry(self, path: str) -> AuditEntry:
        """Return the audit entry of a change at a path of the vault."""
        return audit_writer.create_entry(self.action, f"{self.base}/{path}", self.now)
