"""Data types of the directory: identities, federated credentials, roles, audit entries.

The store returns only values that passed `rules`. Ids are lower-case GUIDs, times are seconds since 1970. A
`document` holds further attributes of an object, as its API validated them. Decisions read only these
members: of an application `exchange.sign_in.clients` (redirect URIs, public client, audience),
`exchange.client_auth.directory_lookup` (assignment required), `resources` (version of tokens), `app_roles`
(roles), `delegated_permissions` (published and registered permissions, preauthorized clients) and
`graph.lookup` (owners, for the `OwnedBy` permissions); of a cluster whether workload identity is
on. Code that reads other members must list them here.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

VAULT_TYPE = "Microsoft.KeyVault/vaults"


class IdentityKind(StrEnum):
    """The kind of an identity. Token requests name both kinds by `client_id`."""

    MANAGED_IDENTITY = "managed-identity"
    APPLICATION = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant, found by id or by one of its domains (lower case)."""

    id: str
    display_name: str = ""
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedCredential:
    """Trust in the tokens of one issuer with one subject, or whose claims match an expression.

    Issuer, subject and the single audience are stored unchanged, byte by byte. A flexible credential has an
    expression (`claims_expression`) and an empty subject.
    """

    name: str
    issuer: str
    subject: str
    audiences: tuple[str, ...]
    description: str = ""
    id: str = ""
    created: float = 0
    expression: str = ""

    @property
    def trust(self) -> str:
        """Return the subject, or the expression that takes its place."""
        return self.subject or self.expression


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordCredential:
    """A client secret of an application. Only its digest is stored.

    `digest` is the SHA-256 of the secret, which podpass generates at random; `hint` is its beginning.
    """

    key_id: str
    display_name: str
    hint: str
    digest: bytes = field(repr=False)
    begins: float
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCredential:
    """A certificate that an application signs client assertions with.

    `certificate` is DER; `thumbprint` its SHA-1 in base64url, as in the `x5t` header of a token.
    """

    key_id: str
    display_name: str
    certificate: bytes = field(repr=False)
    thumbprint: str
    begins: float
    expires: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user-assigned managed identity, or an application with or without a service principal.

    `object_id` is the service principal's (`oid` and `sub` of its tokens; role assignments name it),
    `application_id` the application's own in Graph, None for a managed identity; `resource_id` the ARM id of
    a managed identity (`xms_mirid`), None for an application. `document` has further members of the
    application, or of the managed identity in ARM; `principal` has those of the service principal.
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
    """A user who signs in; `password` is a salted hash, empty for a user without a password."""

    id: str
    tenant_id: str
    name: str
    display_name: str = ""
    password: str = field(default="", repr=False)
    created: float = 0

    def pairwise_subject(self, app_id: str) -> str:
        """Return the subject of this user for one application; it differs for each application."""
        digest = hashlib.sha256(f"{app_id}:{self.tenant_id}:{self.id}".encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGroup:
    """A group of resources in a subscription; names are compared without case."""

    subscription_id: str
    name: str
    location: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """The permissions of one principal on the secrets of a vault: `get`, `list` and so on, in lower case.

    `document` has the permissions on keys, certificates and storage, by these names.
    """

    object_id: str
    tenant_id: str
    secrets: tuple[str, ...] = ()
    application_id: str | None = None
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherResource:
    """A resource that needs no table of its own, such as a storage account or a DNS zone.

    `type` is its namespace and type; `document` has its `kind`, `sku` and `properties`, which are stored
    only.
    """

    resource_id: str
    type: str
    name: str
    location: str
    tags: Mapping[str, str] = field(default_factory=dict)
    created: float = 0
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceInfo:
    """An Azure resource; `policies` authorize the callers of a vault that does not use roles."""

    id: str
    type: str
    name: str
    url: str = ""
    uses_roles: bool = True
    policies: tuple[AccessPolicy, ...] = ()

    @property
    def is_vault(self) -> bool:
        """Return whether the resource is a key vault."""
        return self.type.lower() == VAULT_TYPE.lower()

    @property
    def group(self) -> str:
        """Return the resource group."""
        return self.id.split("/")[4]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDefinition:
    """The permissions of a role; in a pattern, `*` matches any text.

    The role can be assigned at `scopes`, `/` for built-in roles; `assigns` holds the ids of the only roles
    that a holder may assign, None for all roles.
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
    """A role of a principal (object id) at a scope (lower-case ARM id).

    `name` is a GUID, which the store generates if it is empty; `role` is the id of a role definition.
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
    """An application role of a service principal (`resource_id`), assigned to another principal."""

    id: str
    principal_id: str
    principal_type: str
    resource_id: str
    app_role_id: str
    created: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PermissionGrant:
    """The consent that lets a client use delegated permissions of a resource for one user or for all users.

    `tenant_id` is that of the users; `client_id` and `resource_id` are object ids of service principals;
    `principal_id` is the user's id, empty for all users; `scope` has the names of the permissions, separated
    by blanks.
    """

    id: str
    tenant_id: str
    client_id: str
    resource_id: str
    principal_id: str = ""
    scope: str = ""
    created: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change of the directory: actor, action, target and time.

    `details` of a role assignment are `role` (id of the role definition) and `principal` (object id), because
    a deleted assignment can no longer be read.
    """

    time: float
    actor: str
    actor_name: str
    action: str
    target: str
    correlation_id: str = ""
    serial: int = 0
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePrincipal:
    """A resource that an access token can be requested for.

    `uris` without a trailing slash; with `token_version` 1 the `aud` is the requested URI, with 2 `app_id`.
    """

    app_id: str
    uris: tuple[str, ...]
    display_name: str
    token_version: int


class WriteResult(StrEnum):
    """The result of a write. Writing an existing object again is accepted and changes nothing."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
