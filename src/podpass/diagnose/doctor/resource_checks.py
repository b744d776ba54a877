"""The checks of the stage resource: what the identity may do there. Pure."""

import shlex
from collections.abc import Callable, Sequence

from podpass.diagnose.doctor.directory_checks import require_identity
from podpass.diagnose.doctor.model import (
    AssignedRole,
    DirectoryIdentity,
    DoctorCheck,
    Facts,
    Problem,
    ResourceFacts,
    Stage,
)
from podpass.directory import resource_ids, roles
from podpass.directory.builtin_roles import VAULT_ROLES
from podpass.facts import FactUnread, known
from podpass.provision.errors import sanitize

_READ = "get"


def _resource(facts: Facts) -> ResourceFacts:
    """Return the resource. Raises FactUnread if none was named."""
    found = known(facts.cloud.resource)
    if found is None:
        raise FactUnread("no resource was named: pass --vault or --resource")
    return found


def _existing(facts: Facts) -> ResourceFacts:
    found = _resource(facts)
    if not found.exists:
        raise FactUnread(f"the {found.title} was not found")
    return found


def _check_exists(facts: Facts) -> Problem | None:
    found = _resource(facts)
    if found.exists:
        return None
    name = found.title.rpartition(" ")[2]
    if found.deleted:
        return Problem(
            found.title,
            "it was deleted, and can be recovered with its secrets; its role assignments were deleted too",
            f"az keyvault recover --name {name}",
        )
    similar = [sanitize(each) for each in found.similar]
    if not facts.cloud.is_only_directory and not found.is_exact:
        near = f"; a vault with a similar name is {similar[0]}" if similar else ""
        raise FactUnread(
            f"the subscription that was read has no {found.title}{near}; pass the resource id of a vault"
            " of another subscription with --vault"
        )
    return Problem(found.title, "there is no such vault", _correct_vault(facts, similar))


def _correct_vault(facts: Facts, similar: Sequence[str]) -> str:
    if len(similar) == 1:
        return f"correct the address of the vault in the program or in the pod: {similar[0]}"
    listing = "podpass vault list" if facts.cloud.is_only_directory else "az keyvault list -o table"
    if similar:
        return f"use one of {', '.join(similar)}; `{listing}` prints all vaults"
    return f"`{listing}` prints the vaults; correct the address in the program or in the pod"


def _allows(role: AssignedRole, found: ResourceFacts) -> bool:
    if not found.action:
        return True
    return any(roles.allows(each, found.action, data=found.is_data) for each in role.permissions)


def _split(found: ResourceFacts) -> tuple[list[AssignedRole], list[AssignedRole]]:
    """Return the roles at the resource, above it or at a part of it, and the roles elsewhere."""
    here: list[AssignedRole] = []
    elsewhere: list[AssignedRole] = []
    for role in known(found.roles):
        is_here = resource_ids.covers(role.scope, found.resource_id) or resource_ids.covers(
            found.resource_id, role.scope
        )
        (here if is_here else elsewhere).append(role)
    return here, elsewhere


def _check_assigned(facts: Facts) -> Problem | None:
    found, identity = _existing(facts), require_identity(facts)
    if not found.uses_roles:
        return None
    here, elsewhere = _split(found)
    if here:
        return None
    message = f"{identity.title} has no role there"
    near = [each for each in elsewhere if _allows(each, found)]
    if near:
        message += f"; it has {sanitize(near[0].name)} at {sanitize(near[0].scope)}"
    return Problem(found.title, message, _assign(found, identity))


def _check_allowed(facts: Facts) -> Problem | None:
    found, identity = _existing(facts), require_identity(facts)
    if not found.uses_roles:
        return None
    here, _ = _split(found)
    if not here or any(_allows(each, found) for each in here):
        return None
    held = ", ".join(dict.fromkeys(sanitize(each.name) for each in here))
    return Problem(
        found.title,
        f"the roles of {identity.title} there do not allow {sanitize(found.action)}: {held}",
        _assign(found, identity),
    )


def _assign(found: ResourceFacts, identity: DirectoryIdentity) -> str:
    scope = shlex.quote(sanitize(found.resource_id))
    assignee = (
        f"--assignee-object-id {identity.principal_id} --assignee-principal-type ServicePrincipal"
    )
    role = _choose_role(found)
    if role:
        return f"az role assignment create --role {shlex.quote(role)} --scope {scope} {assignee}"
    return (
        f'`az role definition list --scope {scope} --query "[].roleName"` lists the roles, then:'
        f" az role assignment create --role ROLE --scope {scope} {assignee}"
    )


def _choose_role(found: ResourceFacts) -> str:
    """Return the least role of a vault for the action, without one for reading secrets; empty if unknown."""
    action = found.action or (roles.GET_SECRET if found.is_vault else "")
    allowed = (
        each.name
        for each in VAULT_ROLES
        if roles.allows(each, action, data=found.is_data or not found.action)
    )
    return next(allowed, "") if found.is_vault else ""


def _check_policy(facts: Facts) -> Problem | None:
    found, identity = _existing(facts), require_identity(facts)
    if found.uses_roles or found.action != roles.GET_SECRET:
        return None
    own = identity.principal_id.lower()
    if any(each.object_id == own and _permits(each.secrets) for each in found.policies):
        return None
    message = (
        f"it authorizes callers by access policies, and none lets {identity.title} read secrets"
    )
    wrong = {identity.client_id.lower(), str(identity.application_id).lower()}
    if any(each.object_id in wrong for each in found.policies):
        message += "; one names its client id or application in place of its principal"
    return Problem(
        found.title,
        message,
        f"az keyvault set-policy --name {found.title.rpartition(' ')[2]}"
        f" --object-id {identity.principal_id} --secret-permissions get",
    )


def _permits(permissions: Sequence[str]) -> bool:
    return _READ in permissions or "all" in permissions


def _row(name: str, meaning: str, run: Callable[[Facts], Problem | None]) -> DoctorCheck:
    return DoctorCheck(name, Stage.RESOURCE, meaning, run, optional=True)


CHECKS: tuple[DoctorCheck, ...] = (
    _row("vault-unknown", "the vault exists", _check_exists),
    _row("role-missing", "the identity has a role at the resource or above it", _check_assigned),
    _row("role-insufficient", "one of these roles allows the action", _check_allowed),
    _row(
        "access-policy-missing",
        "an access policy of the vault lets the identity read secrets",
        _check_policy,
    ),
)
