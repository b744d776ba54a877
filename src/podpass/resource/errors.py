"""Every refusal of the vault, with the status, code and AKV number that clients of Key Vault know.

Source: recorded answers of Azure Key Vault; the sentences are our own. A missing permission
was innererror AccessDenied until about 2021 and is ForbiddenByPolicy since; purge protection has none.
"""

from collections.abc import Sequence

from podpass import names
from podpass.database import DatabaseFailed
from podpass.directory.model import Vault
from podpass.directory.roles import least_for
from podpass.errors import Error
from podpass.resource.checks import Check, Principal, TokenRefused


class VaultRefusal(Error):
    """A request the vault does not carry out; `wire_code` and `inner_code` go to the client."""

    wire_code = "BadParameter"
    inner_code = ""
    status = 400


class BadParameter(VaultRefusal):
    """The request is not written as it must be."""

    code = "bad_parameter"


class Unauthorized(VaultRefusal):
    """No token, or none that is accepted; the answer carries the challenge."""

    code = "unauthorized"
    wire_code = "Unauthorized"
    status = 401


class MissingToken(Unauthorized):
    """The request carries no bearer token: how every client begins, and no fault."""

    code = "missing_token"


class Forbidden(VaultRefusal):
    """The caller is known and may not do this."""

    code = "forbidden"
    wire_code = "Forbidden"
    inner_code = "ForbiddenByRbac"
    status = 403


class ForbiddenByPolicy(Forbidden):
    """No access policy of the vault gives the caller what it asks for."""

    code = "forbidden_by_policy"
    inner_code = "ForbiddenByPolicy"


class SecretDisabled(VaultRefusal):
    """The secret's version is switched off."""

    code = "secret_disabled"
    wire_code = "Forbidden"
    inner_code = "SecretDisabled"
    status = 403


class SecretNotFound(VaultRefusal):
    """There is no such secret or version."""

    code = "secret_not_found"
    wire_code = "SecretNotFound"
    status = 404


class VaultNotFound(VaultRefusal):
    """There is no vault of this name; a client of the real one would see its name not resolve."""

    code = "vault_not_found"
    wire_code = "VaultNotFound"
    status = 404
    hint = "see `podpass vault list`; add the vault with a seed file and `podpass apply -f FILE`"


class NameTaken(VaultRefusal):
    """A deleted secret still holds the name."""

    code = "secret_deleted_but_recoverable"
    wire_code = "Conflict"
    inner_code = "ObjectIsDeletedButRecoverable"
    status = 409


class NameInUse(VaultRefusal):
    """A secret has the name that a backup would be restored under."""

    code = "secret_already_exists"
    wire_code = "Conflict"
    status = 409


class BackupUnfit(BadParameter):
    """What is to be restored is no backup of this owner's vaults, or was changed."""

    code = "backup_unfit"
    hint = "restore it in the instance, tenant and subscription it was made in, byte for byte"


class BackupTooLarge(BadParameter):
    """A secret has more to back up than a backup holds."""

    code = "backup_too_large"


class PurgeProtected(VaultRefusal):
    """The vault keeps deleted secrets until their time is over, whoever asks."""

    code = "secret_purge_protected"
    wire_code = "Forbidden"
    status = 403


class NotThere(VaultRefusal):
    """A part of Key Vault that podpass does not have."""

    code = "not_in_podpass"
    wire_code = "NotImplemented"
    status = 501
    hint = "docs/parity.md lists what podpass has"


class PathNotFound(VaultRefusal):
    """Key Vault has nothing at this path."""

    code = "path_not_found"
    wire_code = "NotFound"
    status = 404


class MethodNotAllowed(VaultRefusal):
    """The path is there, the method is not; `allowed` are those that are."""

    code = "method_not_allowed"
    wire_code = "MethodNotAllowed"
    status = 405

    def __init__(self, message: str, *, allowed: Sequence[str]) -> None:
        super().__init__(message, allowed=allowed)
        self.allowed = allowed


class Unavailable(VaultRefusal):
    """The vault cannot tell a good token from a bad one at the moment, or reach its database."""

    code = "vault_unavailable"
    wire_code = "ServiceUnavailable"
    status = 503


class Broken(VaultRefusal):
    """A database cannot be read as it should; somebody has to see to it."""

    code = "vault_broken"
    wire_code = "InternalServerError"
    status = 500


class NoRoom(VaultRefusal):
    """What is to be kept cannot be, until somebody has seen to the disk."""

    code = "vault_no_room"
    wire_code = "InsufficientStorage"
    status = 507


def of_database(failed: DatabaseFailed) -> VaultRefusal:
    """Say that a database does not do what it should, and what to do."""
    kinds = {each.status: each for each in (Unavailable, NoRoom, Broken)}
    text = f"The vault cannot do this: {failed.message}. Operator: {failed.hint}."
    return kinds[failed.status](text)


def of_token(refused: TokenRefused, issuer: str, resource: str) -> Unauthorized:
    """Say why a token is refused, with Key Vault's number where it is known."""
    found = refused.facts.get("found")
    if refused.check is Check.MISSING:
        return MissingToken("AKV10000: The request carries no bearer token.")
    match refused.check:
        case Check.AUDIENCE:
            text = f"AKV10022: The token is for {found}; this vault wants one for {resource}."
        case Check.ISSUER:
            text = f"AKV10032: The token is from {found}; this vault believes {issuer}."
        case Check.KEY:
            text = "AKV10046: The authority publishes no key of the token's key id."
        case _:
            text = f"The access token is not accepted: {refused.message}."
    return Unauthorized(text, hint=refused.hint, check=refused.check.value)


def not_found(name: str) -> SecretNotFound:
    """Say that a secret, or a version of it, is not there."""
    return SecretNotFound(
        f"There is no secret {name} in this vault. If it was deleted, `az keyvault secret list-deleted` shows"
        " it and `az keyvault secret recover` brings it back.",
        name=name,
    )


def name_taken(name: str) -> NameTaken:
    """Say that a deleted secret must be recovered or purged before its name is free."""
    return NameTaken(
        f"A deleted secret holds the name {name}: recover it, or purge it and take the name anew.",
        name=name,
    )


def name_in_use(name: str, *, deleted: bool) -> VaultRefusal:
    """Say that a backup does not write over a secret, deleted or not."""
    if deleted:
        return name_taken(name)
    return NameInUse(
        f"There is a secret {name} already, and a backup never replaces one: delete and purge it first, or "
        "restore into another vault.",
        name=name,
    )


def purge_protected(vault: Vault) -> PurgeProtected:
    """Say that nobody can purge in this vault, and that it happens by itself."""
    return PurgeProtected(
        "Nobody can purge here: the vault has purge protection, and purges deleted secrets by itself after "
        f"{vault.retention_days} days.\r\n"
        f"Vault: {vault.name};location={vault.location}",
        vault=vault.name,
    )


def by_policy(principal: Principal, vault: Vault, permission: str) -> ForbiddenByPolicy:
    """Refuse for want of a permission in the vault's access policies, and say how to give it."""
    issuer = names.v1_issuer(principal.tenant_id)
    cure = (
        f"Grant it with `az keyvault set-policy --name {vault.name} --object-id {principal.object_id} "
        f"--secret-permissions {permission}`."
    )
    return ForbiddenByPolicy(
        f"No access policy of the vault {vault.name} gives the caller {permission} on secrets. {cure}\r\n"
        f"Caller: appid={principal.app_id};oid={principal.object_id};iss={issuer}\r\n"
        f"Vault: {vault.name};location={vault.location}",
        hint=cure,
        permission=permission,
        vault=vault.name,
    )


def _how_to_grant(principal: Principal, who: str, vault: Vault, role: str) -> str:
    command = (
        f"`az role assignment create --role '{role}' --assignee-object-id {principal.object_id} "
        f"--assignee-principal-type {'User' if principal.is_user else 'ServicePrincipal'} "
        f"--scope {vault.resource_id}`"
    )
    if principal.is_user:
        return f"Grant it with {command}."
    return (
        f"Grant it with a seed file, vaults: [{{name: {vault.name}, access: [{{identity: {who}, "
        f"role: {role}}}]}}], and `podpass apply -f FILE`, or with {command}."
    )


def by_rbac(
    principal: Principal, identity: str | None, vault: Vault, action: str, secret: str
) -> Forbidden:
    """Refuse for want of a role, and say which role, on which vault, and how to give it.

    Shapes:  `identity` is the caller's name in the directory, `secret` may be empty.
    """
    role = least_for(action).name
    issuer = names.v1_issuer(principal.tenant_id)
    place = vault.resource_id.lower() + (f"/secrets/{secret}" if secret else "")
    who = identity or principal.app_id
    missing = f"Missing role: '{role}' on vault {vault.name} for {who}."
    cure = f"{missing} {_how_to_grant(principal, who, vault, role)}"
    lines = (
        "No role of the caller permits this.",
        f"Caller: appid={principal.app_id};oid={principal.object_id};iss={issuer}",
        f"Action: '{action}'",
        f"Resource: '{place}'",
        "Assignment: (not found)",
        "DenyAssignmentId: null",
        "DecisionReason: null ",
        f"Vault: {vault.name};location={vault.location}",
        cure,
    )
    return Forbidden("\r\n".join(lines), hint=cure, role=role, vault=vault.name, action=action)
