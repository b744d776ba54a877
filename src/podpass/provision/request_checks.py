"""Which phases are active, and the checks of their flags before the first one runs. Pure."""

from collections.abc import Callable, Mapping, Sequence

from podpass.errors import UsageError
from podpass.provision import naming
from podpass.provision.model import (
    ACCOUNT,
    APPLICATION,
    CREDENTIAL,
    IDENTITY,
    ROLE,
    ProvisionRequest,
)

CREATE_ORDER = (APPLICATION, IDENTITY, ACCOUNT, CREDENTIAL, ROLE)
DELETE_ORDER = (ROLE, CREDENTIAL, ACCOUNT, APPLICATION, IDENTITY)
ALIASES = {"app": APPLICATION, "mi": IDENTITY, "sa": ACCOUNT, "fi": CREDENTIAL, "ra": ROLE}


def select_phases(
    order: Sequence[str], skipped: Sequence[str], *, is_managed: bool
) -> tuple[str, ...]:
    """Return the active phases: with a managed identity, its phase takes the place of the application's.

    Raises UsageError for an unknown name.
    """
    valid = [each for each in order if each != (APPLICATION if is_managed else IDENTITY)]
    named = [ALIASES.get(each, each) for each in skipped]
    for given, name in zip(skipped, named, strict=True):
        if name not in valid:
            raise UsageError(
                f"failed to compute skip phases: phase '{given}' not found."
                f" Valid phases are: [{' '.join(valid)}]"
            )
    return tuple(each for each in valid if each not in named)


def check_create(request: ProvisionRequest) -> None:
    """Check the flags of all active phases before the first one runs.

    Raises UsageError, naming phase and flag.
    """
    for phase in request.phases:
        _CREATE_CHECKS[phase](phase, request)


def check_delete(request: ProvisionRequest) -> None:
    """Check the flags of all active phases of a deletion. Raises UsageError, naming phase and flag."""
    for phase in request.phases:
        _DELETE_CHECKS[phase](phase, request)


def _fail(phase: str, message: str, hint: str | None = None) -> None:
    raise UsageError(f"failed to run pre-run for phase {phase}: {message}", hint=hint)


def _check(phase: str, flag: str, field: str, value: str) -> None:
    if not value:
        _fail(phase, f"{flag} is required")
    if problem := naming.find_problem(field, value):
        _fail(phase, f"{flag} {value[:100]!r} {problem}")


def _check_account(phase: str, request: ProvisionRequest) -> None:
    _check(phase, "--service-account-namespace", "namespace", request.namespace)
    _check(phase, "--service-account-name", "account", request.account)


def _check_credential(phase: str, request: ProvisionRequest) -> None:
    _check_account(phase, request)
    _check(phase, "--service-account-issuer-url", "issuer", request.issuer)
    if request.expression:
        _check(phase, "--claims-matching-expression", "expression", request.expression)


def _check_application(phase: str, request: ProvisionRequest) -> None:
    flag = "--aad-application-name"
    if request.application_name or not request.resolved_name:
        _check(phase, flag, "application", request.application_name)
        return
    if naming.find_problem("application", request.resolved_name):
        _fail(
            phase,
            f"the derived name of the application has {len(request.resolved_name)} characters,"
            f" at most {naming.MAX_DISPLAY_NAME} are possible",
            f"choose a shorter name with {flag}",
        )


def _check_application_deletion(phase: str, request: ProvisionRequest) -> None:
    if not request.application_object_id and not request.resolved_name:
        _fail(phase, "--aad-application-name or --aad-application-object-id is required")


def _check_identity(phase: str, request: ProvisionRequest) -> None:
    _check(phase, "--managed-identity-name", "identity", request.managed_identity)
    _check(phase, "--resource-group", "group", request.resource_group)


def _check_role(phase: str, request: ProvisionRequest) -> None:
    _check(phase, "--azure-scope", "scope", request.scope)
    if not request.role:
        _fail(phase, "--azure-role is required")
    if request.is_managed:
        _check_identity(phase, request)
    elif not (request.principal_object_id or request.principal_name or request.resolved_name):
        _fail(phase, "--service-principal-name or --service-principal-object-id is required")


def _check_role_deletion(phase: str, request: ProvisionRequest) -> None:
    if request.scope and request.role and not request.assignment_id:
        _check_role(phase, request)
    else:
        _check(phase, "--role-assignment-id", "assignment", request.assignment_id)


_Check = Callable[[str, ProvisionRequest], None]
_CREATE_CHECKS: Mapping[str, _Check] = {
    APPLICATION: _check_application,
    IDENTITY: _check_identity,
    ACCOUNT: _check_account,
    CREDENTIAL: _check_credential,
    ROLE: _check_role,
}
_DELETE_CHECKS: Mapping[str, _Check] = {
    APPLICATION: _check_application_deletion,
    IDENTITY: _check_identity,
    ACCOUNT: _check_account,
    CREDENTIAL: _check_credential,
    ROLE: _check_role_deletion,
}
