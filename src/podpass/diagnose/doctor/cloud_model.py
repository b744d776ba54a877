"""What the cloud half of a diagnosis reads: the issuer's documents, the directory, and the resource."""

from collections.abc import Sequence
from dataclasses import dataclass

from podpass.diagnose.doctor.cluster_model import PodToken
from podpass.diagnose.doctor.model import Object, Unread
from podpass.directory.model import RoleDefinition
from podpass.provision.errors import sanitize
from podpass.provision.model import CredentialInfo

NO_EXCHANGE = Unread("no exchange was tried: pass --exchange")
_NO_SIGN_IN = Unread("no sign-in to the cloud was chosen: pass --auth-method")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The response to an anonymous request for one document of the issuer.

    `status` is 0 without a response, then `error` says why. `location` is the target of a redirect. `body` is
    None if the content is not a JSON object.
    """

    url: str
    status: int = 0
    error: str = ""
    location: str = ""
    body: Object | None = None
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerFacts:
    """The public documents of an issuer, as Entra reads them.

    `private` and `keys_private` say why the host of the issuer or of its keys is not on the internet, empty
    if it is; such a host is not contacted. `keys` is None without a `jwks_uri`.
    """

    issuer: str
    private: str = ""
    discovery: Document | None = None
    keys_private: str = ""
    keys: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityFacts:
    """What the token service says about the tenant of the workload, without a sign-in.

    `tenant_id` is that of its issuer, a GUID also for a tenant that is given by domain name; empty if the
    token service does not know the tenant. Units: `now` is the clock of the token service, in seconds since
    1970; None without one.
    """

    url: str
    tenant_id: str
    now: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryIdentity:
    """The application or managed identity with a client id.

    `principal_id` is empty for an application without a service principal. `application_id` is that of the
    application, None in a tenant that does not own it, empty for a managed identity. `resource_id` is empty
    for an application; for a system-assigned identity, it is that of its machine. `owner_tenant` is the
    tenant of the application. `enabled` is unread if only Resource Manager could be read.
    """

    name: str
    client_id: str
    principal_id: str = ""
    application_id: str | Unread | None = ""
    resource_id: str = ""
    is_system_assigned: bool = False
    owner_tenant: str = ""
    enabled: bool | Unread = True

    @property
    def is_managed(self) -> bool:
        """Return whether it is a managed identity."""
        return bool(self.resource_id)

    @property
    def title(self) -> str:
        """Return how messages name it."""
        kind = "managed identity" if self.is_managed else "application"
        kind = f"system-assigned {kind}" if self.is_system_assigned else kind
        return f"{kind} {sanitize(self.name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherId:
    """An id that was used as client id and is another one; `client_id` is the right one, empty if unknown."""

    meaning: str
    client_id: str = ""

    def __str__(self) -> str:
        return self.meaning + (f"; its client id is {self.client_id}" if self.client_id else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedIdentity:
    """What a client id names: an identity with its credentials.

    `identity` is None if no object has the client id; `other` then says what else has it.
    """

    client_id: str
    identity: DirectoryIdentity | Unread | None
    credentials: Sequence[CredentialInfo] | Unread
    other: OtherId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityCandidate:
    """An identity that the annotation client-id may have meant: it has this name, or trusts the token."""

    name: str
    client_id: str
    is_trusting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedRole:
    """A role of the identity at a scope; `permissions` has an entry for each block of its definition."""

    name: str
    scope: str
    permissions: Sequence[RoleDefinition]


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultPolicy:
    """An access policy of a vault: the permissions for secrets of one object id."""

    object_id: str
    secrets: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceFacts:
    """The resource that the workload wants to use.

    `exists` is false if the caller's subscription has no such vault, `is_exact` if no other subscription can
    have it. Of such a vault, `deleted` says that it is soft-deleted, and `similar` are the URLs of vaults
    with a similar name. `action` is what the workload wants to do, empty for any; with `is_data`, a data
    action. `uses_roles` is false for a vault with access policies. `roles` are all roles of the identity in
    the subscription of the resource, and above it.
    """

    title: str
    resource_id: str = ""
    exists: bool = True
    is_exact: bool = False
    deleted: bool = False
    similar: Sequence[str] = ()
    action: str = ""
    is_data: bool = False
    uses_roles: bool = True
    roles: Sequence[AssignedRole] | Unread = ()
    policies: Sequence[VaultPolicy] = ()

    @property
    def is_vault(self) -> bool:
        """Return whether it is a key vault."""
        return "/providers/microsoft.keyvault/vaults/" in self.resource_id.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeFacts:
    """The result of one exchange with a token of the ServiceAccount that was requested for it.

    `token` has the parts of that token that may be shown. `status` is that of the token service; `number` is
    its AADSTS number, 0 without one.
    """

    token: PodToken
    status: int
    number: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFacts:
    """What Entra, Resource Manager and the issuer returned about one workload.

    `cloud` is the name of the signed-in cloud, `login_hosts` are the hosts of its token service, `audience`
    is the one of its federated credentials. `is_only_directory` is true if there is no other directory, as on
    a local instance. `identity` is None if no object has the client id; `other_id` then says what else has
    it. `next` is what the client id names that the pod would get if it were created again, None if it would
    keep its own. `candidates` are read if no identity has one of these client ids. `resource` is None if none
    was named.
    """

    cloud: str = ""
    login_hosts: Sequence[str] = ()
    audience: str = ""
    is_only_directory: bool = False
    tenant_id: str | Unread = _NO_SIGN_IN
    issuer: IssuerFacts | Unread = _NO_SIGN_IN
    authority: AuthorityFacts | Unread = _NO_SIGN_IN
    identity: DirectoryIdentity | Unread | None = _NO_SIGN_IN
    other_id: OtherId | None = None
    credentials: Sequence[CredentialInfo] | Unread = _NO_SIGN_IN
    next: NamedIdentity | None = None
    candidates: Sequence[IdentityCandidate] | Unread = _NO_SIGN_IN
    resource: ResourceFacts | Unread | None = None
    exchange: ExchangeFacts | Unread = NO_EXCHANGE
