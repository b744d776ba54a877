"""The errors of the vault, with the status, code and AKV number of Azure Key Vault.

Source: recorded responses of Azure Key Vault; the messages are podpass's own. The innererror of a missing
permission was AccessDenied until about 2021 and is ForbiddenByPolicy now; purge protection has no innererror.
"""

from collections.abc import Sequence

from podpass import names
from podpass.database import DatabaseFailed
from podpass.directory.model import Vault
from podpass.directory.roles import least_for
from podpass.errors import Error
from podpass.http.server import BodyRefused
from podpass.resource.checks import Check, Principal, TokenRefused


class VaultError(Error):
    """An error of a vault request; the response contains `wire_code` and `inner_code`."""

    wire_code = "BadParameter"
    inner_code = ""
    status = 400


class BadParameter(VaultError):
    """The request is malformed."""

    code = "bad_parameter"


class Unauthorized(VaultError):
    """The token is missing or invalid; the response contains the challenge."""

    code = "unauthorized"
    wire_code = "Unauthorized"
    status = 401


class MissingToken(Unauthorized):
    """The request has no bearer token, as the first request of every client."""

    code = "missing_token"


class Forbidden(VaultError):
    """The caller lacks a role for the operation."""

    code = "forbidden"
    wire_code = "Forbidden"
    inner_code = "ForbiddenByRbac"
    status = 403


class ForbiddenByPolicy(Forbidden):
    """No access policy of the vault grants the permission to the caller."""

    code = "forbidden_by_policy"
    inner_code = "ForbiddenByPolicy"


class SecretDisabled(VaultError):
    """The version of the secret is disabled."""

    code = "secret_disabled"
    wire_code = "Forbidden"
    inner_code = "SecretDisabled"
    status = 403


class SecretNotFound(VaultError):
    """The secret or version does not exist."""

    code = "secret_not_found"
    wire_code = "SecretNotFound"
    status = 404


class VaultNotFound(VaultError):
    """No vault has this name; with Azure, the host name would not resolve."""

    code = "vault_not_found"
    wire_code = "VaultNotFound"
    status = 404
    hint = "run `podpass vault list`; add the vault with a seed file and `podpass apply -f FILE`"


class NameTaken(VaultError):
    """A deleted secret still has the name."""

    code = "secret_deleted_but_recoverable"
    wire_code = "Conflict"
    inner_code = "ObjectIsDeletedButRecoverable"
    status = 409


class NameInUse(VaultError):
    """A secret with the name in the backup already exists."""

    code = "secret_already_exists"
    wire_code = "Conflict"
    status = 409


class InvalidBackup(BadParameter):
    """The data is not a backup of this owner's vaults, or was changed."""

    code = "invalid_backup"
    hint = "restore the unchanged backup in the instance, tenant and subscription that created it"


class BackupTooLarge(BadParameter):
    """A secret has more or larger versions than a backup may contain."""

    code = "backup_too_large"


class SecretPurgeProtected(VaultError):
    """Purge protection prevents the purge of a deleted secret during its retention time."""

    code = "secret_purge_protected"
    wire_code = "Forbidden"
    status = 403


class NotSupported(VaultError):
    """A feature of Key Vault that podpass does not support."""

    code = "not_supported"
    wire_code = "NotImplemented"
    status = 501
    hint = "docs/parity.md lists the supported features"


class PathNotFound(VaultError):
    """Key Vault does not have this path."""

    code = "path_not_found"
    wire_code = "NotFound"
    status = 404


class MethodNotAllowed(VaultError):
    """The path does not support the method; `allowed` are the supported ones."""

    code = "method_not_allowed"
    wire_code = "MethodNotAllowed"
    status = 405

    def __init__(self, message: str, *, allowed: Sequence[str]) -> None:
        super().__init__(message, allowed=allowed)
        self.allowed = allowed


class Unavailable(VaultError):
    """The vault cannot verify tokens now, or its database is unavailable."""

    code = "vault_unavailable"
    wire_code = "ServiceUnavailable"
    status = 503


class DatabaseCorrupt(VaultError):
    """The database cannot be read; an operator has to repair it."""

    code = "vault_database_corrupt"
    wire_code = "InternalServerError"
    status = 500


class StorageFull(VaultError):
    """The disk is full; an operator has to free space."""

    code = "vault_storage_full"
    wire_code = "InsufficientStorage"
    status = 507


def from_database_error(failed: DatabaseFailed) -> VaultError:
    """Convert an error of the database to an error of the vault, with the hint for the operator."""
    kinds = {each.status: each for each in (Unavailable, StorageFull, DatabaseCorrupt)}
    text = f"The request failed: {failed.message}. Operator: {failed.hint}."
    return kinds[failed.status](text)


def from_refused_body(refused: BodyRefused) -> VaultError:
    """Convert the error of a body that is too large or cannot be decoded."""
    error = BadParameter(f"The request is not accepted: {refused.message}.")
    error.status = refused.status
    return error


def from_token_error(refused: TokenRefused, issuer: str, resource: str) -> Unauthorized:
    """Convert an error of the token to an error of the vault, with Key Vault's number where it is known."""
    found = refused.facts.get("found")
    if refused.check is Check.MISSING:
        return MissingToken("AKV10000: The request has no bearer token.")
    match refused.check:
        case Check.AUDIENCE:
            text = f"AKV10022: The token is for {found}; this vault requires one for {resource}."
        case Check.ISSUER:
            text = f"AKV10032: The token is from {found}; this vault accepts {issuer}."
        case Check.KEY:
            text = "AKV10046: The authority publishes no key with the token's key ID."
        case _:
            text = f"The access token is invalid: {refused.message}."
    return Unauthorized(text, hint=refused.hint, check=refused.check.value)


def not_found(name: str) -> SecretNotFound:
    """Return the error for a secret, or a version of a secret, that does not exist."""
    return SecretNotFound(
        f"The vault has no secret {name}. If it was deleted, `az keyvault secret list-deleted` lists it"
        " and `az keyvault secret recover` recovers it.",
        name=name,
    )


def name_taken(name: str) -> NameTaken:
    """Return the error for a name that a deleted secret has."""
    return NameTaken(
        f"A deleted secret has the name {name}. Recover it, or purge it and then create the new secret.",
        name=name,
    )


def name_in_use(name: str, *, deleted: bool) -> VaultError:
    """Return the error for a restore to a name that a secret, deleted or not, already has."""
    if deleted:
        return name_taken(name)
    return NameInUse(
        f"The secret {name} already exists, and a restore never replaces a secret. Delete and purge it "
        "first, or restore the backup into another vault.",
        name=name,
    )


def purge_protected(vault: Vault) -> SecretPurgeProtected:
    """Return the error for a purge in a vault with purge protection."""
    return SecretPurgeProtected(
        "The vault has purge protection: deleted secrets cannot be purged manually. They are purged "
        f"automatically after {vault.retention_days} days.\r\n"
        f"Vault: {vault.name};location={vault.location}",
        vault=vault.name,
    )


def policy_denied(principal: Principal, vault: Vault, permission: str) -> ForbiddenByPolicy:
    """Return the error for a missing permission, with the command that grants it."""
    issuer = names.v1_issuer(principal.tenant_id)
    resolution = (
        f"Grant it with `az keyvault set-policy --name {vault.name} --object-id {principal.object_id} "
        f"--secret-permissions {permission}`."
    )
    return ForbiddenByPolicy(
        f"No access policy of the vault {vault.name} grants the caller {permission} on secrets. "
        f"{resolution}\r\n"
        f"Caller: appid={principal.app_id};oid={principal.object_id};iss={issuer}\r\n"
        f"Vault: {vault.name};location={vault.location}",
        hint=resolution,
        permission=permission,
        vault=vault.name,
    )


def _grant_instruction(principal: Principal, caller: str, vault: Vault, role: str) -> str:
    command = (
        f"`az role assignment create --role '{role}' --assignee-object-id {principal.object_id} "
        f"--assignee-principal-type {'User' if principal.is_user else 'ServicePrincipal'} "
        f"--scope {vault.resource_id}`"
    )
    if principal.is_user:
        return f"Grant it with {command}."
    return (
        f"Grant it with a seed file, vaults: [{{name: {vault.name}, access: [{{identity: {caller}, "
        f"role: {role}}}]}}], and `podpass apply -f FILE`, or with {command}."
    )


def rbac_denied(
    principal: Principal, identity: str | None, vault: Vault, action: str, secret: str
) -> Forbidden:
    """Return the error for a missing role, with the vault and the command that grants the role.

    `identity` is the caller's name in the directory; `secret` may be empty.
    """
    role = least_for(action).name
    issuer = names.v1_issuer(principal.tenant_id)
    scope = vault.resource_id.lower() + (f"/secrets/{secret}" if secret else "")
    caller = identity or principal.app_id
    missing = f"Missing role: '{role}' on vault {vault.name} for {caller}."
    resolution = f"{missing} {_grant_instruction(principal, caller, vault, role)}"
    lines = (
        "No role of the caller permits this.",
        f"Caller: appid={principal.app_id};oid={principal.object_id};iss={issuer}",
        f"Action: '{action}'",
        f"Resource: '{scope}'",
        "Assignment: (not found)",
        "DenyAssignmentId: null",
        "DecisionReason: null ",
        f"Vault: {vault.name};location={vault.location}",
        resolution,
    )
    return Forbidden(
        "\r\n".join(lines), hint=resolution, role=role, vault=vault.name, action=action
    )
