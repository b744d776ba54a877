"""Data types: what is requested, what exists, and the steps between them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from podpass.directory.model import FederatedCredential
from podpass.kubernetes.service_account import names
from podpass.provision import naming

# The phases, with the names of azure-workload-identity; a managed identity takes the place of an application.
APPLICATION, IDENTITY = "aad-application", "managed-identity"
ACCOUNT, CREDENTIAL, ROLE = "service-account", "federated-identity", "role-assignment"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationInfo:
    """An application in Graph; `secrets` and `certificates` are numbers."""

    object_id: str
    client_id: str
    name: str
    secrets: int = 0
    certificates: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalInfo:
    """A service principal in Graph.

    `owner_tenant` is that of its application; `alternative_names` are those of a managed identity, among them
    its resource id.
    """

    object_id: str
    client_id: str
    name: str
    is_managed: bool = False
    enabled: bool = True
    owner_tenant: str = ""
    alternative_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityInfo:
    """A user-assigned managed identity in Resource Manager."""

    resource_id: str
    name: str
    client_id: str
    principal_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountInfo:
    """A ServiceAccount in the cluster."""

    uid: str
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleInfo:
    """A role definition."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentInfo:
    """A role assignment; `role_id` is the resource id of a role definition."""

    id: str
    scope: str
    role_id: str
    principal_id: str
    principal_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAssignmentInfo:
    """An assignment of a policy; `definition_id` is the resource id of its definition or initiative.

    `scope` is a management group, a subscription, or a part of one; `excluded` are scopes below it.
    """

    id: str
    definition_id: str
    scope: str
    excluded: tuple[str, ...]
    parameters: Mapping[str, object]
    is_enforced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class InitiativeMember:
    """A policy of an initiative; a value of `parameters` can name a parameter of the initiative."""

    reference_id: str
    definition_id: str
    parameters: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class InitiativeInfo:
    """An initiative, which Resource Manager calls a policy set definition."""

    id: str
    defaults: Mapping[str, object]
    members: tuple[InitiativeMember, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyExemptionInfo:
    """An exemption from an assignment; `references` limit it to policies of an initiative.

    `expires` is a time in the format of ISO 8601, empty if the exemption does not expire.
    """

    id: str
    assignment_id: str
    references: tuple[str, ...] = ()
    category: str = ""
    expires: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionRequest:
    """What a command requests, by its flags; an empty text is a flag that was not given.

    `phases` are the active ones, in order; `tenant_id` and `audience` come from the cloud.
    """

    phases: tuple[str, ...]
    tenant_id: str = ""
    audience: str = ""
    namespace: str = "default"
    account: str = ""
    issuer: str = ""
    token_seconds: int | None = None
    application_name: str = ""
    application_client_id: str = ""
    application_object_id: str = ""
    managed_identity: str = ""
    resource_group: str = ""
    location: str = ""
    principal_name: str = ""
    principal_object_id: str = ""
    scope: str = ""
    role: str = ""
    assignment_id: str = ""
    expression: str = ""

    @property
    def is_managed(self) -> bool:
        """Return whether the identity is a managed identity."""
        return bool(self.managed_identity)

    @property
    def resolved_name(self) -> str:
        """Return the application's name: the given one, else the derived one, else an empty text."""
        if self.application_name or not (self.namespace and self.account and self.issuer):
            return self.application_name
        return naming.derive_application_name(self.namespace, self.account, self.issuer)

    @property
    def subject(self) -> str:
        return names.subject(self.namespace, self.account)

    @property
    def credential(self) -> FederatedCredential:
        """Return the federated credential that the request needs."""
        derive = (
            naming.derive_managed_credential_name
            if self.is_managed
            else naming.derive_credential_name
        )
        return FederatedCredential(
            # A credential with an expression has another name than the credential of the account itself.
            name=derive(self.namespace, self.account, self.issuer + self.expression),
            issuer=self.issuer,
            subject="" if self.expression else self.subject,
            expression=self.expression,
            audiences=(self.audience,),
            description=f"Federated Service Account for {self.namespace}/{self.account}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What exists before the first step.

    `location` is that of the resource group, None if the group does not exist. `pods` run with the
    ServiceAccount; None if the account may not list them.
    """

    application: ApplicationInfo | None = None
    principal: PrincipalInfo | None = None
    identity: IdentityInfo | None = None
    location: str | None = None
    account: AccountInfo | None = None
    credentials: tuple[FederatedCredential, ...] = ()
    role: RoleInfo | None = None
    assignment: AssignmentInfo | None = None
    pods: tuple[str, ...] | None = ()


class ObjectKind(StrEnum):
    """The kind of object of a step."""

    APPLICATION = "application"
    PRINCIPAL = "service principal"
    IDENTITY = "managed identity"
    ACCOUNT = "ServiceAccount"
    CREDENTIAL = "federated credential"
    ASSIGNMENT = "role assignment"


class Action(StrEnum):
    """What a step does with its object; KEEP and ABSENT change nothing."""

    CREATE = "create"
    UPDATE = "update"
    KEEP = "keep"
    DELETE = "delete"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionStep:
    """One step of a plan; `note` is a fact for the user, such as the replaced value."""

    phase: str
    kind: ObjectKind
    action: Action
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """A finished step, with the values that scripts read."""

    step: ProvisionStep
    fields: Mapping[str, str] = field(default_factory=dict)
