"""Data types of a diagnosis: what was read of the cluster and of the cloud, checks, and results."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from podpass import names
from podpass.account.model import PodRefused
from podpass.diagnose.explain.recognition import Recognition
from podpass.directory.model import AccessPolicy, FederatedCredential, RoleDefinition
from podpass.facts import Unread
from podpass.kubernetes.objects import MaybeObject, Object, Preview
from podpass.kubernetes.service_account.names import subject
from podpass.provision.errors import sanitize

_MAX_CHARS = 600  # of an issuer; a subject is shorter


class Stage(StrEnum):
    """The stages in the order in which a token passes them."""

    ACCOUNT = "account"
    ADMISSION = "admission"
    ASSERTION = "assertion"
    DIRECTORY = "directory"
    EXCHANGE = "exchange"
    IMDS = "imds"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a check found: the object, one sentence, and the command or setting that fixes it."""

    object: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem with the id and the stage of its check."""

    check: str
    stage: Stage
    object: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotChecked:
    """A check whose facts could not be read."""

    check: str
    stage: Stage
    reason: str
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The results for one workload, in the order of the stages.

    `workload` is `pod NAMESPACE/NAME`, `ServiceAccount NAMESPACE/NAME` or, for a Deployment, `pod template of
    Deployment NAMESPACE/NAME`; `passed` has the ids of the checks that found nothing.
    """

    workload: str
    findings: Sequence[Finding] = ()
    not_checked: Sequence[NotChecked] = ()
    passed: Sequence[str] = ()

    @property
    def is_healthy(self) -> bool:
        """Return whether no check found a problem; some may not have been possible."""
        return not self.findings

    @property
    def is_complete(self) -> bool:
        """Return whether every check was possible that does not depend on the programs of an image."""
        return all(each.optional for each in self.not_checked)


# ------------------------------------------------------------------------------------------- cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionDecision:
    """The result of the webhook's rules for one pod.

    `warnings` maps the code of each warning to its texts; `refusal` is the error of a pod that no webhook
    admits.
    """

    refusal: PodRefused | None = None
    warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookService:
    """The Service that a webhook configuration names, and its ready addresses."""

    reference: str
    exists: bool
    ready: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PodToken:
    """The parts of the projected token that may be shown; the signature never leaves the pod."""

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    expires: float
    issued: float
    key_id: str

    @classmethod
    def from_claims(cls, key_id: object, claims: Mapping[str, Any]) -> Self:
        """Return the parts of a token that nothing has verified; each text is cut."""
        audiences = claims.get("aud") or []
        return cls(
            issuer=_text(claims.get("iss")),
            subject=_text(claims.get("sub")),
            audiences=tuple(map(_text, audiences if isinstance(audiences, list) else [audiences])),
            expires=_number(claims.get("exp")),
            issued=_number(claims.get("iat")),
            key_id=_text(key_id),
        )


def _text(value: object) -> str:
    return str(value or "")[:_MAX_CHARS]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionResult:
    """The result of one connection from the pod to the authority; `error` is empty if it answered."""

    url: str
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerFacts:
    """What commands in a container of the pod have printed.

    `token` is None if the file does not exist; `environment` has the variables of Workload ID; `libraries`
    maps an identity library as `ecosystem:name` to its version. Units: `clock_offset` is the seconds that the
    pod's clock is ahead of this machine's.
    """

    name: str
    token_file: str
    token: PodToken | Unread | None
    environment: Mapping[str, str] | Unread
    clock_offset: float | Unread
    authority: ConnectionResult | Unread
    libraries: Mapping[str, str] | Unread


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFacts:
    """What the API server returned about one workload.

    `namespace`, `account` and `pod` are None if the object does not exist; `pod_name` is empty for a
    ServiceAccount without a pod, and `pod` is None then. `controller` is `Deployment/NAME` if the workload is
    a pod template; `pod` is what admission makes of it. `owner` is the workload that creates the pod, such as
    a Deployment. `registrations` are the configurations of the webhook. `services` has their Services by
    NAMESPACE/NAME. `certificate` is the webhook's serving certificate (PEM), None if its Secret does not
    exist. `decision` is the result of the webhook's rules, None without an account. `discovery` and `jwks`
    are the documents of the API server. `container` is None without a pod. `log` has the known errors in the
    log of the first container that does not run, None if each runs. `missing` are the Secrets and ConfigMaps
    that the pod needs and that do not exist, as `Secret NAME`. `authority_container` is the container that
    sets AZURE_AUTHORITY_HOST itself, empty if only the webhook sets it. Units: `now` is this machine's clock,
    in seconds since 1970.
    """

    now: float
    server: str
    namespace_name: str
    account_name: str
    pod_name: str = ""
    controller: str = ""
    namespace: MaybeObject
    account: MaybeObject
    pod: MaybeObject = None
    owner: MaybeObject = None
    node: MaybeObject = None
    registrations: Sequence[Object] | Unread
    services: Mapping[str, WebhookService | Unread] = field(default_factory=dict)
    certificate: bytes | Unread | None = None
    preview: Preview | Unread
    discovery: Object | Unread
    jwks: Object | Unread
    decision: AdmissionDecision | None = None
    container: ContainerFacts | Unread | None = None
    log: Recognition | Unread | None = None
    missing: Sequence[str] | Unread = ()
    authority_container: str = ""

    @property
    def subject(self) -> str:
        """Return the subject of the workload's tokens."""
        return subject(self.namespace_name, self.account_name)

    @property
    def workload(self) -> str:
        """Return how reports name the workload."""
        if self.pod_name:
            return f"pod {self.namespace_name}/{self.pod_name}"
        if self.controller:
            kind, _, name = self.controller.partition("/")
            return f"pod template of {kind} {self.namespace_name}/{name}"
        return self.account_title

    @property
    def account_title(self) -> str:
        """Return how findings name the ServiceAccount."""
        return f"ServiceAccount {self.namespace_name}/{self.account_name}"

    @property
    def labels(self) -> Mapping[str, str]:
        """Return the labels of the pod; empty if it was not read."""
        pod = self.pod if isinstance(self.pod, dict) else {}
        return (pod.get("metadata") or {}).get("labels") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        """Return the annotations of the ServiceAccount; empty if it was not read."""
        account = self.account if isinstance(self.account, dict) else {}
        return (account.get("metadata") or {}).get("annotations") or {}

    @property
    def client_id(self) -> str:
        """Return the client id that the workload uses: that of its pod, else of its ServiceAccount."""
        return self.variable(names.ENV_CLIENT_ID) or self.annotations.get(names.CLIENT_ID, "")

    @property
    def tenant_id(self) -> str:
        """Return the tenant that the workload uses, as `client_id`."""
        return self.variable(names.ENV_TENANT_ID) or self.annotations.get(names.TENANT_ID, "")

    @property
    def authority_host(self) -> str:
        """Return the authority that the webhook gave to the pod; empty without one."""
        return self.variable(names.ENV_AUTHORITY_HOST)

    @property
    def issuer(self) -> str | Unread:
        """Return the issuer of the token in the pod, else that of the API server."""
        if isinstance(self.container, ContainerFacts) and isinstance(
            self.container.token, PodToken
        ):
            return self.container.token.issuer
        if isinstance(self.discovery, Unread):
            return self.discovery
        return str(self.discovery.get("issuer", ""))

    def variable(self, name: str) -> str:
        """Return a variable of the first container that has it; without a pod, of the dry run."""
        pod = self.pod if isinstance(self.pod, dict) else None
        if pod is None and isinstance(self.preview, Preview):
            pod = self.preview.pod
        for container in ((pod or {}).get("spec") or {}).get("containers") or ():
            for entry in container.get("env") or ():
                if entry.get("name") == name and entry.get("value"):
                    return str(entry["value"])
        return ""


# --------------------------------------------------------------------------------------------- cloud

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
    1970; None without one. `has_flexible_kubernetes` is podpass' extension: expressions for Kubernetes.
    """

    url: str
    tenant_id: str
    now: float | None = None
    has_flexible_kubernetes: bool = False


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
    credentials: Sequence[FederatedCredential] | Unread
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
    policies: Sequence[AccessPolicy] = ()

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
    credentials: Sequence[FederatedCredential] | Unread = _NO_SIGN_IN
    next: NamedIdentity | None = None
    candidates: Sequence[IdentityCandidate] | Unread = _NO_SIGN_IN
    resource: ResourceFacts | Unread | None = None
    exchange: ExchangeFacts | Unread = NO_EXCHANGE


# -------------------------------------------------------------------------------------------- checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that was read about one workload."""

    cluster: ClusterFacts
    cloud: CloudFacts


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """One row of the table of checks.

    `id` is stable, in words with hyphens; `meaning` is the sentence of the docs, what must hold. `run`
    returns None if it holds or does not apply. It reads facts with `known`, so that a check whose facts are
    unread is reported as not checked; with `optional`, the exit code stays 0 then. `is_symptom` if it finds a
    consequence: every finding that can be its cause comes first.
    """

    id: str
    stage: Stage
    meaning: str
    run: Callable[[Facts], Problem | None]
    optional: bool = False
    is_symptom: bool = False
