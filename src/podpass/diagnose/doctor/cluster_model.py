"""What the cluster half of a diagnosis reads: objects of the API server, and the inside of one container."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from podpass import names
from podpass.diagnose.doctor.admission_decision import AdmissionDecision
from podpass.diagnose.doctor.model import MaybeObject, Object, Unread
from podpass.diagnose.explain.recognition import Recognition


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What admission answers to the same pod now, from a dry run.

    `pod` is None if the pod was refused; then `refusal` has the message of the API server.
    """

    pod: Object | None = None
    refusal: str = ""


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
        return f"system:serviceaccount:{self.namespace_name}:{self.account_name}"

    @property
    def workload(self) -> str:
        """Return how reports name the workload."""
        if self.pod_name:
            return f"pod {self.namespace_name}/{self.pod_name}"
        if self.controller:
            kind, _, name = self.controller.partition("/")
            return f"pod template of {kind} {self.namespace_name}/{name}"
        return f"ServiceAccount {self.namespace_name}/{self.account_name}"

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
