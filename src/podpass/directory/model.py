"""Shapes of the directory: who may ask, whom it trusts, what is protected, who holds which role.

Values only: they have passed `rules` when they come out of the store. Ids are lower-case GUIDs, times are
seconds since 1970. A `document` holds what an API shows of a thing, as that API checked it. Decisions read
little of it: of an application `exchange.clients` (redirect URIs, public client, audience), `exchange.lookup`
(assignment required), `resources` (version of tokens), `app_roles` (roles) and `graph.targets` (owners: who
may change it with OwnedBy); of a cluster whether workload identity is on. Whoever reads more names it here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


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
    id: str = ""
    created: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordCredential:
    """A client secret of an application, of which only the digest is kept.

    Shapes:  `digest` is the SHA-256 of the text, which we made and nobody can guess; `hint` how it begins.
    """

    key_id: str
    display_name: str
    hint: str
    digest: bytes = field(repr=False)
    begins: float
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCredential:
    """A certificate with which an application may sign assertions about itself.

    Shapes:  `certificate` is DER; `thumbprint` its SHA-1, as a token's `x5t` names it (base64url).
    """

    key_id: str
    display_name: str
    certificate: bytes = field(repr=False)
    thumbprint: str
    begins: float
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user-assigned managed identity, or an application with or without its service principal.

    Shapes:  `object_id` is the service principal's (`oid` and `sub` of its tokens; role assignments name
             it), `application_id` the application's own in Graph, None for a managed identity;
             `resource_id` the ARM id of a managed identity (`xms_mirid`), None for an application.
             `document` are further members of the application, or of the managed identity in ARM,
             `principal` those of the service principal.
    """

    tenant_id: str
    client_id: str
    object_id: str
    name: str
    kind: IdentityKind = IdentityKind.MANAGED_IDENTITY
    resource_id: str | None = None
    application_id: str | None = None
    unique_name: str | None = None
    has_principal: bool = True
    enabled: bool = True
    identifier_uris: tuple[str, ...] = ()
    credentials: tuple[FederatedCredential, ...] = ()
    passwords: tuple[PasswordCredential, ...] = ()
    keys: tuple[KeyCredential, ...] = ()
    location: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    created: float = 0
    document: Mapping[str, Any] = field(default_factory=dict)
    principal: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person who signs in; `password` is a salted hash, empty for one who cannot."""

    id: str
    tenant_id: str
    name: str
    display_name: str = ""
    password: str = field(default="", repr=False)
    created: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGroup:
    """A group of resources in a subscription; names are compared without case."""

    subscription_id: str
    name: str
    location: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created: float = 0


class VaultAccess(StrEnum):
    """How a vault decides what a caller may: by role assignments or by its own list."""

    ROLES = "rbac"
    POLICIES = "access-policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """What one principal may do with the secrets of a vault: `get`, `list`, ..., lower case.

    Shapes:  `document` holds the permissions on keys, certificates and storage, which we only keep.
    """

    object_id: str
    tenant_id: str
    secrets: tuple[str, ...] = ()
    application_id: str | None = None
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """A key vault; `name` is the first label of its host name, lower case.

    Shapes:  secrets are kept under `uid`, so that a vault never sees those of a purged one of its name.
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
    """A vault that can still be recovered, until `purge_on`."""

    vault: Vault
    deleted: float
    purge_on: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What Resource Manager shows of the instance's own Kubernetes cluster."""

    subscription_id: str
    group: str
    name: str
    location: str
    resource_id: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created: float = 0
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDefinition:
    """What a role allows; patterns may hold `*`, which stands for any text.

    Shapes:  `scopes` are where it can be assigned, `/` for the built-in ones; `assigns` are the ids of the
             only roles that it lets its holder give and take, None for any.
    """

    id: str
    name: str
    description: str = ""
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ("/",)
    assigns: tuple[str, ...] | None = None
    built_in: bool = True
    created: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAssignment:
    """A role held by a principal (object id) at a scope (lower-case ARM id).

    Shapes:  `name` is a GUID, made by the store if it is empty; `role` a role definition's id.
    """

    scope: str
    principal_id: str
    role: str
    name: str = ""
    principal_type: str = "ServicePrincipal"
    description: str = ""
    created: float = 0
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRoleAssignment:
    """An application role of one service principal (`resource_id`) given to another principal."""

    id: str
    principal_id: str
    principal_type: str
    resource_id: str
    app_role_id: str
    created: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change of the directory: who did what to which thing, when."""

    time: float
    actor: str
    actor_name: str
    action: str
    target: str
    correlation_id: str = ""
    serial: int = 0


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
