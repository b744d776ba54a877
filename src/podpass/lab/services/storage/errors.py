"""The errors of storage, with the status and code of Azure Storage. The messages are podpass's own.

Source: https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2
"""

from podpass.errors import Error
from podpass.http.server import BodyRefused
from podpass.lab.services.storage.model import StorageService
from podpass.resource.checks import Check, Principal, TokenRefused


class StorageError(Error):
    """An error of a storage request; the response contains `wire_code`."""

    wire_code = "InvalidInput"
    status = 400


class InvalidUri(StorageError):
    """The host, path or query of a request cannot be read in one way only."""

    code = "storage_invalid_uri"
    wire_code = "InvalidUri"


class InvalidHeader(StorageError):
    """A header is not accepted."""

    code = "storage_invalid_header"
    wire_code = "InvalidHeaderValue"


class StorageNotSupported(StorageError):
    """An operation that podpass refuses, because the permission that it needs is unknown."""

    code = "storage_not_supported"
    wire_code = "FeatureNotSupportedOnAccount"
    hint = "docs/develop/storage.md lists the operations"


class BlockListTooLong(StorageError):
    """A block list has more blocks than a blob may have."""

    code = "storage_block_list_too_long"
    wire_code = "BlockListTooLong"


class NoAuthentication(StorageError):
    """The request has no token."""

    code = "storage_missing_token"
    wire_code = "NoAuthenticationInformation"
    status = 401


class InvalidStorageToken(StorageError):
    """The token is invalid."""

    code = "storage_unauthorized"
    wire_code = "InvalidAuthenticationInfo"
    status = 401


class KeyNotPermitted(StorageError):
    """The request is signed with an account key or has a shared access signature."""

    code = "storage_key_not_permitted"
    wire_code = "KeyBasedAuthenticationNotPermitted"
    status = 403
    hint = (
        "sign in with a token: pass a credential of azure-identity to the client instead of a key"
    )


class PermissionMismatch(StorageError):
    """The caller has no role that allows the operation."""

    code = "storage_forbidden"
    wire_code = "AuthorizationPermissionMismatch"
    status = 403


class CannotVerifySource(StorageError):
    """The source of a copy is outside the account."""

    code = "storage_copy_source"
    wire_code = "CannotVerifyCopySource"
    status = 403


class StorageAccountNotFound(StorageError):
    """No storage account has this name; in Azure, the host name would not resolve."""

    code = "storage_account_not_found"
    wire_code = "ResourceNotFound"
    status = 404
    hint = "add the account with a seed file and `podpass apply -f FILE`, or `az storage account create`"


class StorageUnavailable(StorageError):
    """Azurite, the keys of the authority or the database cannot be reached."""

    code = "storage_unavailable"
    wire_code = "ServerBusy"
    status = 503


class ServerBusy(StorageError):
    """The caller has reached the limit of concurrent requests, or of memory for documents."""

    code = "storage_server_busy"
    wire_code = "ServerBusy"
    status = 503
    hint = (
        "wait for the responses to earlier requests of this identity; read each response to its end"
    )


class BodyTooSlow(StorageError):
    """The body of a request arrives too slowly."""

    code = "storage_body_too_slow"
    wire_code = "OperationTimedOut"
    status = 408
    hint = "send the body without pauses"


class ClientDisconnected(StorageError):
    """The client closed its connection; no response reaches it."""

    code = "storage_client_disconnected"
    wire_code = "OperationTimedOut"
    status = 500


def from_refused_body(refused: BodyRefused) -> StorageError:
    """Convert the error of a document that is too large."""
    error = StorageError(f"The request is not accepted: {refused.message}.")
    error.status, error.wire_code = refused.status, "RequestBodyTooLarge"
    return error


def from_token_error(refused: TokenRefused, audience: str) -> StorageError:
    """Convert an error of the token to an error of storage."""
    if refused.check is Check.MISSING:
        return NoAuthentication("The request has no bearer token.")
    if refused.check is Check.AUDIENCE:
        text = (
            f"The token is for {refused.facts.get('found')}; storage requires one for {audience}."
        )
        return InvalidStorageToken(text, hint=refused.hint, check=refused.check.value)
    return InvalidStorageToken(
        f"The access token is invalid: {refused.message}.",
        hint=refused.hint,
        check=refused.check.value,
    )


def permission_mismatch(
    principal: Principal, caller: str, scope: str, action: str, role: str
) -> PermissionMismatch:
    """Return the error for a missing role, with the command that grants `role`, if any."""
    kind = "User" if principal.is_user else "ServicePrincipal"
    fix = (
        (
            f"Grant it with `az role assignment create --role '{role}' --assignee-object-id "
            f"{principal.object_id} --assignee-principal-type {kind} --scope {scope}`."
        )
        if role
        else "Grant a role that allows this action."
    )
    return PermissionMismatch(
        f"No role of {caller} permits {action} at {scope}. {fix}",
        hint=fix,
        role=role,
        scope=scope,
        action=action,
    )


def account_not_found(name: str, service: StorageService) -> StorageAccountNotFound:
    """Return the error for a host name that names no existing storage account."""
    return StorageAccountNotFound(
        f"This instance has no storage account {name}.", service=service.value
    )
