"""The errors of the vault, with the status, code and AKV number of Azure Key Vault.

Source: recorded responses of Azure Key Vault; the messages are podpass's own. The innererror of a missing
permission was AccessDenied until about 2021 and is ForbiddenByPolicy now; purge protection has no innererror.
"""

from collections.abc import Sequence

from podpass import names
from podpass.database import DatabaseFailed
from podpass.directory.roles import least_for
from podpass.errors import Error
from podpass.http.server import BodyRefused
from podpass.lab.services.vault.model import Kind, Vault
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


class ObjectNotFound(VaultError):
    """The object or version does not exist; `not_found` sets the codes of its kind."""

    status = 404


class ManagedObject(VaultError):
    """A key or a secret that is a view of a certificate, which only the certificate changes."""

    wire_code = "Forbidden"
    status = 403


class OutdatedState(VaultError):
    """Another request changed the object after this request read it."""

    code = "object_changed"
    wire_code = "Conflict"
    status = 409


class Throttled(VaultError):
    """The caller has used its share of the vault's computing time."""

    code = "vault_throttled"
    wire_code = "Throttled"
    status = 429


class VaultNotFound(VaultError):
    """No vault has this name; with Azure, the host name would not resolve."""

    code = "vault_not_found"
    wire_code = "VaultNotFound"
    status = 404
    hint = "run `podpass vault list`; add the vault with a seed file and `podpass apply -f FILE`"


class NameTaken(VaultError):
    """A deleted object still has the name."""

    wire_code = "Conflict"
    inner_code = "ObjectIsDeletedButRecoverable"
    status = 409


class NameInUse(VaultError):
    """An object with the name already exists."""

    wire_code = "Conflict"
    status = 409


class InvalidBackup(BadParameter):
    """The data is not a backup of this owner's vaults, or was changed."""

    code = "invalid_backup"
    hint = "restore the unchanged backup in the instance, tenant and subscription that created it"


class BackupTooLarge(BadParameter):
    """An object has more or larger versions than a backup may contain."""

    code = "backup_too_large"


class ObjectPurgeProtected(VaultError):
    """Purge protection prevents the purge of a deleted object during its retention time."""

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


def not_found(kind: Kind, name: str) -> ObjectNotFound:
    """Return the error for an object, or a version of an object, that does not exist."""
    command = f"az keyvault {kind.noun}"
    error = ObjectNotFound(
        f"A {kind.noun} with (name/id) {name} was not found in this key vault."
        f" If it was deleted, `{command} list-deleted --vault-name VAULT` lists it"
        f" and `{command} recover --vault-name VAULT -n {name.partition('/')[0]}` recovers it.",
        name=name,
    )
    error.code, error.wire_code = f"{kind.noun}_not_found", f"{kind.wire_name}NotFound"
    return error


def managed(kind: Kind, name: str) -> ManagedObject:
    """Return the error for a change of a key or a secret that is a view of a certificate."""
    error = ManagedObject(
        f"The {kind.noun} {name} belongs to the certificate {name}. Change the certificate instead, with"
        " `az keyvault certificate`.",
        name=name,
    )
    error.code = f"{kind.noun}_managed"
    error.inner_code = f"{kind.wire_name}ManagedByKeyVault"
    return error


def name_taken(kind: Kind, name: str) -> NameTaken:
    """Return the error for a name that a deleted object has."""
    error = NameTaken(
        f"A deleted {kind.noun} has the name {name}. Recover it with `az keyvault {kind.noun} recover"
        f" --vault-name VAULT -n {name}`, or purge it (`purge`) and then create the new {kind.noun}.",
        name=name,
    )
    error.code = f"{kind.noun}_deleted_but_recoverable"
    return error


def name_in_use(kind: Kind, name: str, *, deleted: bool) -> VaultError:
    """Return the error for a new object with a name that another object, deleted or not, already has."""
    if deleted:
        return name_taken(kind, name)
    error = NameInUse(
        f"The {kind.noun} {name} already exists, and is never replaced. Delete and purge it first, or use"
        " another vault.",
        name=name,
    )
    error.code = f"{kind.noun}_already_exists"
    return error


def purge_protected(vault: Vault, kind: Kind) -> ObjectPurgeProtected:
    """Return the error for a purge in a vault with purge protection."""
    error = ObjectPurgeProtected(
        f"The vault has purge protection: deleted {kind.plural} cannot be purged manually. They are purged "
        f"automatically after {vault.retention_days} days.\r\n"
        f"Vault: {vault.name};location={vault.location}",
        vault=vault.name,
    )
    error.code = f"{kind.noun}_purge_protected"
    return error


def policy_denied(
    principal: Principal, vault: Vault, permission: str, kind: Kind
) -> ForbiddenByPolicy:
    """Return the error for a missing permission, with the command that grants it."""
    issuer = names.v1_issuer(principal.tenant_id)
    resolution = (
        f"Grant it with `az keyvault set-policy --name {vault.name} --object-id {principal.object_id} "
        f"--{kind.permission_noun}-permissions {permission}`."
    )
    return ForbiddenByPolicy(
        f"No access policy of the vault {vault.name} grants the caller {permission} on"
        f" {kind.permission_noun}s. {resolution}\r\n"
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
    principal: Principal, identity: str | None, vault: Vault, action: str, path: str
) -> Forbidden:
    """Return the error for a missing role, with the vault and the command that grants the role.

    `identity` is the caller's name in the directory; `path` is that of the object, and may be empty.
    """
    role = least_for(action).name
    issuer = names.v1_issuer(principal.tenant_id)
    scope = vault.resource_id.lower() + path
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
