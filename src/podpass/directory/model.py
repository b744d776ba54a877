"""Shapes of the directory: who may ask, whom it trusts, what is protected, who holds which role.

Values only: they have passed `rules` when they come out of the store. Ids are lower-case GUIDs.
"""

from dataclasses import dataclass
from enum import StrEnum


class IdentityKind(StrEnum):
    """What an identity is; both are asked for by `client_id`."""

    MANAGED_IDENTITY = "managed-identity"
    APPLICATION = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A directory of its own, named by id or by one of its domains (lower case)."""

    id: str
    display_name: str = ""
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedCredential:
    """Trust in the tokens of one issuer for one subject.

    Shapes:  issuer, subject and the single audience are kept byte for byte as they were given.
    """

    name: str
    issuer: str
    subject: str
    audiences: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user-assigned managed identity, or an application with its service principal.

    Shapes:  `object_id` is the service principal's (`oid` and `sub` of its tokens; role assignments name
             it); `resource_id` the ARM id of a managed identity (`xms_mirid`), None for an application.
    """

    tenant_id: str
    client_id: str
    object_id: str
    name: str
    kind: IdentityKind = IdentityKind.MANAGED_IDENTITY
    resource_id: str | None = None
    enabled: bool = True
    credentials: tuple[FederatedCredential, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """A key vault; `name` is the first label of its host name, lower case."""

    name: str
    tenant_id: str
    location: str
    resource_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAssignment:
    """A role held by a principal (object id) at a scope (lower-case ARM id)."""

    scope: str
    principal_id: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePrincipal:
    """Something an access token can be asked for.

    Shapes:  `uris` without a trailing slash; `token_version` 1 echoes the URI as `aud`, 2 puts `app_id`.
    """

    app_id: str
    uris: tuple[str, ...]
    display_name: str
    token_version: int


class Change(StrEnum):
    """What a write did; writing what is there already is no fault and changes nothing."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
