"""Decide from what exists what to do: the steps of `create` and `delete`. Pure."""

from collections.abc import Callable, Mapping, Sequence

from podpass import names
from podpass.directory.model import FederatedCredential
from podpass.errors import Error
from podpass.provision import naming
from podpass.provision.model import (
    ACCOUNT,
    APPLICATION,
    CREDENTIAL,
    IDENTITY,
    ROLE,
    Action,
    ObjectKind,
    Observed,
    ProvisionRequest,
    ProvisionStep,
)

DEFAULT_TOKEN_SECONDS = 3600


class PhaseFailed(Error):
    """A phase failed; the message names it, the hint says how to continue."""

    code = "phase_failed"

    def __init__(self, phase: str, reason: str, *, hint: str) -> None:
        super().__init__(f"failed to run phase {phase}: {reason}", hint=hint, phase=phase)
        self.phase = phase


def build_annotations(
    client_id: str, tenant_id: str, token_seconds: int | None
) -> dict[str, str | None]:
    """Return the annotations of a ServiceAccount; None removes one.

    Without `token_seconds`, an existing annotation stays; the default of one hour removes it.
    """
    values: dict[str, str | None] = {names.CLIENT_ID: client_id, names.TENANT_ID: tenant_id}
    if token_seconds is not None:
        is_default = token_seconds == DEFAULT_TOKEN_SECONDS
        values[names.TOKEN_EXPIRATION] = None if is_default else str(token_seconds)
    return values


def plan_create(request: ProvisionRequest, observed: Observed) -> tuple[ProvisionStep, ...]:
    """Return the steps that lead from what exists to what is requested.

    Raises PhaseFailed if an existing object contradicts the request.
    """
    _check_dependencies(request, observed)
    return tuple(
        step for phase in request.phases for step in _CREATE_PLANS[phase](request, observed)
    )


def _check_dependencies(request: ProvisionRequest, observed: Observed) -> None:
    """Check that objects exist that a phase needs and no earlier phase creates."""
    for phase in request.phases:
        if phase in (APPLICATION, IDENTITY):
            continue
        if request.is_managed and observed.identity is None and IDENTITY not in request.phases:
            raise PhaseFailed(
                phase,
                f"there is no managed identity {request.managed_identity} in the resource group"
                f" {request.resource_group}",
                hint=f"run the phase {IDENTITY} first",
            )
        if not request.is_managed and _lacks_application(phase, request, observed):
            raise PhaseFailed(
                phase,
                f"there is no {_missing(phase, request)}",
                hint=f"run the phase {APPLICATION} first, or check the name",
            )


def _lacks_application(phase: str, request: ProvisionRequest, observed: Observed) -> bool:
    if APPLICATION in request.phases:
        return False
    if phase == ACCOUNT:
        return observed.application is None and not request.application_client_id
    if phase == CREDENTIAL:
        return observed.application is None
    return observed.principal is None and not request.principal_object_id


def _missing(phase: str, request: ProvisionRequest) -> str:
    if phase == ROLE:
        return f"service principal named {request.principal_name or request.resolved_name!r}"
    if request.application_object_id:
        return f"application with the object id {request.application_object_id}"
    return f"application named {request.resolved_name!r}"


def _plan_application(request: ProvisionRequest, observed: Observed) -> list[ProvisionStep]:
    name = request.resolved_name
    return [
        ProvisionStep(
            phase=APPLICATION, kind=kind, action=Action.KEEP if found else Action.CREATE, name=name
        )
        for kind, found in (
            (ObjectKind.APPLICATION, observed.application),
            (ObjectKind.PRINCIPAL, observed.application and observed.principal),
        )
    ]


def _plan_identity(request: ProvisionRequest, observed: Observed) -> list[ProvisionStep]:
    location = request.location or observed.location
    if observed.identity is None and observed.location is None:
        raise PhaseFailed(
            IDENTITY,
            f"there is no resource group {request.resource_group} in the subscription",
            hint=f"create it with `az group create --name {request.resource_group} --location LOCATION`",
        )
    action = Action.KEEP if observed.identity else Action.CREATE
    name = request.managed_identity
    note = "" if observed.identity else f"in {location}"
    return [
        ProvisionStep(phase=IDENTITY, kind=ObjectKind.IDENTITY, action=action, name=name, note=note)
    ]


def find_client_id(request: ProvisionRequest, observed: Observed) -> str:
    """Return the client id of the identity, empty if it does not exist yet."""
    if request.is_managed:
        return observed.identity.client_id if observed.identity else ""
    if request.application_client_id:
        return request.application_client_id
    return observed.application.client_id if observed.application else ""


def _plan_account(request: ProvisionRequest, observed: Observed) -> list[ProvisionStep]:
    client_id = find_client_id(request, observed)
    wanted = build_annotations(client_id, request.tenant_id, request.token_seconds)
    action, note = Action.CREATE, ""
    if observed.account is not None:
        current = observed.account.annotations
        changed = [key for key, value in wanted.items() if current.get(key) != value]
        action = Action.UPDATE if changed else Action.KEEP
        # The replaced values are printed, so that a mistake can be undone.
        replaced = [f"{key} was {current[key]}" for key in changed if key in current]
        note = ", ".join(replaced)
    return [
        ProvisionStep(
            phase=ACCOUNT,
            kind=ObjectKind.ACCOUNT,
            action=action,
            name=f"{request.namespace}/{request.account}",
            note=note,
        )
    ]


def find_credential(
    wanted: FederatedCredential, credentials: Sequence[FederatedCredential]
) -> FederatedCredential | None:
    """Return the credential with the issuer and the subject or expression of the wanted one."""
    return next(
        (
            each
            for each in credentials
            if (each.issuer, each.subject, each.expression)
            == (wanted.issuer, wanted.subject, wanted.expression)
        ),
        None,
    )


def _plan_credential(request: ProvisionRequest, observed: Observed) -> list[ProvisionStep]:
    wanted = request.credential
    found = find_credential(wanted, observed.credentials)
    if found is not None and found.audiences != wanted.audiences:
        raise PhaseFailed(
            CREDENTIAL,
            f"the federated credential {found.name} has the audience {', '.join(found.audiences)},"
            f" not {request.audience}",
            hint="delete it with the phase federated-identity of `delete`, or check --azure-env",
        )
    if found is None:
        _check_free_name(wanted, observed.credentials)
    return [
        ProvisionStep(
            phase=CREDENTIAL,
            kind=ObjectKind.CREDENTIAL,
            action=Action.KEEP if found else Action.CREATE,
            name=found.name if found else wanted.name,
        )
    ]


def _check_free_name(
    wanted: FederatedCredential, credentials: Sequence[FederatedCredential]
) -> None:
    for each in credentials:
        if each.name.lower() == wanted.name.lower():
            raise PhaseFailed(
                CREDENTIAL,
                f"the federated credential {each.name} trusts {each.trust} of {each.issuer}",
                hint="delete or rename it, then run the command again",
            )
    if len(credentials) >= naming.MAX_CREDENTIALS:
        raise PhaseFailed(
            CREDENTIAL,
            f"the identity has {len(credentials)} federated credentials,"
            f" at most {naming.MAX_CREDENTIALS} are possible",
            hint="delete one that is not used, or use another identity",
        )


def _plan_role(request: ProvisionRequest, observed: Observed) -> list[ProvisionStep]:
    if observed.role is None:
        raise PhaseFailed(
            ROLE,
            f"there is no role {request.role!r} at the scope {request.scope}",
            hint="list the roles with `az role definition list --query [].roleName`",
        )
    action = Action.KEEP if observed.assignment else Action.CREATE
    name = f"{request.role} at {request.scope}"
    return [ProvisionStep(phase=ROLE, kind=ObjectKind.ASSIGNMENT, action=action, name=name)]


_Plan = Callable[[ProvisionRequest, Observed], list[ProvisionStep]]
_CREATE_PLANS: Mapping[str, _Plan] = {
    APPLICATION: _plan_application,
    IDENTITY: _plan_identity,
    ACCOUNT: _plan_account,
    CREDENTIAL: _plan_credential,
    ROLE: _plan_role,
}


def plan_delete(request: ProvisionRequest, observed: Observed) -> tuple[ProvisionStep, ...]:
    """Return the steps that delete what exists.

    The federated credential has no step of its own if its application or identity is deleted.
    """
    removes_parent = APPLICATION in request.phases or IDENTITY in request.phases
    steps = []
    for phase in request.phases:
        if phase == CREDENTIAL and removes_parent:
            continue
        kind, name, found = _DELETE_TARGETS[phase](request, observed)
        action = Action.DELETE if found else Action.ABSENT
        steps.append(ProvisionStep(phase=phase, kind=kind, action=action, name=name))
    return tuple(steps)


_Target = tuple[ObjectKind, str, object]
_DELETE_TARGETS: Mapping[str, Callable[[ProvisionRequest, Observed], _Target]] = {
    ROLE: lambda request, observed: (
        ObjectKind.ASSIGNMENT,
        request.assignment_id or f"{request.role} at {request.scope}",
        observed.assignment,
    ),
    CREDENTIAL: lambda request, observed: (
        ObjectKind.CREDENTIAL,
        request.expression or request.subject,
        find_credential(request.credential, observed.credentials),
    ),
    ACCOUNT: lambda request, observed: (
        ObjectKind.ACCOUNT,
        f"{request.namespace}/{request.account}",
        observed.account,
    ),
    APPLICATION: lambda request, observed: (
        ObjectKind.APPLICATION,
        request.resolved_name or request.application_object_id,
        observed.application,
    ),
    IDENTITY: lambda request, observed: (
        ObjectKind.IDENTITY,
        request.managed_identity,
        observed.identity,
    ),
}


def find_other_users(request: ProvisionRequest, observed: Observed) -> list[str]:
    """Return one sentence for each use of an object, apart from this workload identity's own."""
    found = []
    if ACCOUNT in request.phases and observed.account is not None:
        found += _users_of_account(request, observed)
    if APPLICATION in request.phases and observed.application is not None:
        found += _users_of_application(request, observed)
    if IDENTITY in request.phases and observed.identity is not None:
        found += _other_trusts(request, observed, f"managed identity {request.managed_identity}")
    principal = find_principal_id(request, observed)
    assignment = observed.assignment if ROLE in request.phases and principal else None
    if assignment is not None and assignment.principal_id.lower() != principal.lower():
        found.append(
            f"the role assignment {assignment.id} is that of another principal,"
            f" {assignment.principal_id}"
        )
    return found


def find_principal_id(request: ProvisionRequest, observed: Observed) -> str:
    """Return the object id that roles are assigned to, empty if it is not known."""
    if request.is_managed:
        return observed.identity.principal_id if observed.identity else ""
    if request.principal_object_id:
        return request.principal_object_id
    return observed.principal.object_id if observed.principal else ""


def _users_of_account(request: ProvisionRequest, observed: Observed) -> list[str]:
    assert observed.account is not None
    name, found = f"the ServiceAccount {request.namespace}/{request.account}", []
    if observed.pods:
        shown = ", ".join(observed.pods[:5]) + (" ..." if len(observed.pods) > 5 else "")
        found.append(f"{name} is used by {len(observed.pods)} pods: {shown}")
    annotated = observed.account.annotations.get(names.CLIENT_ID, "")
    client_id = find_client_id(request, observed)
    if annotated and client_id and annotated.lower() != client_id.lower():
        found.append(f"{name} is annotated with another identity, {annotated}")
    return found


def _users_of_application(request: ProvisionRequest, observed: Observed) -> list[str]:
    application = observed.application
    assert application is not None
    name = f"application {application.name}"
    found = _other_trusts(request, observed, name)
    for number, what in (
        (application.secrets, "client secrets"),
        (application.certificates, "certificates"),
    ):
        if number:
            found.append(f"the {name} has {number} {what}")
    return found


def _other_trusts(request: ProvisionRequest, observed: Observed, name: str) -> list[str]:
    if not request.account:
        # Without a ServiceAccount, one credential can be that of this workload identity.
        own = observed.credentials[0] if len(observed.credentials) == 1 else None
    else:
        own = find_credential(request.credential, observed.credentials)
    return [
        f"the {name} also trusts {each.trust} of {each.issuer}"
        for each in observed.credentials
        if each is not own
    ]
