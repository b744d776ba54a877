"""Shapes of the vault: versions of a secret, and what a caller may set. Times are seconds since 1970."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from podpass.crypto.secret import Secret
from podpass.directory.model import AuditEntry, Vault
from podpass.directory.store import audit_writer

_LONGEST_DAYS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How a vault's deleted secrets come back: for how many days, and whether a caller may end that.

    Shapes:  `level` is what Key Vault calls it; a retention of its own choice makes it "customized".
    """

    days: int = _LONGEST_DAYS
    purgeable: bool = True

    @property
    def level(self) -> str:
        whole = "Recoverable" if self.days == _LONGEST_DAYS else "CustomizedRecoverable"
        return f"{whole}+Purgeable" if self.purgeable else whole


def recovery_of(vault: Vault) -> Recovery:
    """Read a vault's settings."""
    return Recovery(days=vault.retention_days, purgeable=not vault.purge_protection)


def shelf_of(vault: Vault) -> str:
    """Name what a vault's secrets lie under.

    A vault made before it had an id of its own keeps them under its name.
    """
    return vault.uid or vault.name


def owner_of(vault: Vault) -> str:
    """Name whose vaults a backup can be restored into: those of one tenant and subscription."""
    parts = vault.resource_id.lower().split("/")
    subscription = parts[2] if parts[1:2] == ["subscriptions"] and len(parts) > 2 else ""
    return f"{vault.tenant_id}\n{subscription}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """One version of a secret.

    Shapes:  `vault` is the shelf it lies on; `version` is 32 hex digits; `ordinal` grows with every version
             written, so the latest version is the one with the highest, whatever the clock said. `deleted`
             and `purge_on` are set for all versions of a deleted secret.
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
class Wanted:
    """What a caller sets; a field that is absent from `given` is left as it is, or at its default."""

    given: frozenset[str]
    content_type: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the audit is told of a change: the action, and where the ids of the vault's secrets begin."""

    action: str
    base: str
    now: float

    def entry(self, path: str) -> AuditEntry:
        """Say who does it, to what lies at a path of the vault."""
        return audit_writer.entry(self.action, f"{self.base}/{path}", self.now)
