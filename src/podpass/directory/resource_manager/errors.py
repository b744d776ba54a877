"""The errors of Resource Manager, with the statuses and codes that its clients expect.

The messages are podpass's own.

Source:  https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
"""

from podpass.directory.access import Caller, NotAdmitted, Reason
from podpass.errors import Error
from podpass.http.server import BodyRefused


class ManagerError(Error):
    """A request that Resource Manager rejects; `wire_code` is the error code in the response."""

    code = "resource_manager_error"

    def __init__(
        self, status: int, wire_code: str, message: str, *, hint: str | None = None, **facts: object
    ) -> None:
        super().__init__(message, hint=hint, **facts)
        self.status = status
        self.wire_code = wire_code


class ManagerUnauthorized(ManagerError):
    """The request has no access token, or one that is not accepted; the response has the challenge."""

    code = "resource_manager_unauthorized"


def bad_request(wire_code: str, message: str) -> ManagerError:
    """Return the error for an invalid request."""
    return ManagerError(400, wire_code, message)


def invalid_content(message: str) -> ManagerError:
    """Return the error for an invalid body."""
    return bad_request("InvalidRequestContent", f"The request body is invalid: {message}.")


def conflict(wire_code: str, message: str) -> ManagerError:
    """Return the error for a conflict with an existing resource."""
    return ManagerError(409, wire_code, message)


def not_found(wire_code: str, message: str) -> ManagerError:
    """Return the error for a resource that does not exist."""
    return ManagerError(404, wire_code, message)


_CODES = {
    Reason.MISSING: "AuthenticationFailed",
    Reason.INVALID: "InvalidAuthenticationToken",
    Reason.EXPIRED: "ExpiredAuthenticationToken",
    Reason.AUDIENCE: "InvalidAuthenticationTokenAudience",
    Reason.TENANT: "InvalidAuthenticationTokenTenant",
}


def from_token_error(refused: NotAdmitted) -> ManagerError:
    """Convert the error of a rejected access token."""
    if refused.reason is Reason.UNAVAILABLE:
        text = "Access tokens cannot be checked at the moment. Retry later."
        return ManagerError(503, "ServiceUnavailable", text)
    code = _CODES[refused.reason]
    return ManagerUnauthorized(401, code, f"{refused.message}.", hint=refused.hint)


_BODY_CODES = {413: "RequestContentTooLarge", 415: "UnsupportedMediaType"}


def from_refused_body(refused: BodyRefused) -> ManagerError:
    """Convert the error of a body that is too large or cannot be decoded."""
    code = _BODY_CODES.get(refused.status, "InvalidRequestContent")
    return ManagerError(refused.status, code, f"The request is not accepted: {refused.message}.")


def authorization_failed(caller: Caller, action: str, scope: str) -> ManagerError:
    """Return the error for a missing role, with the caller, action, scope and the command that fixes it."""
    name = caller.name if caller.is_user else caller.app_id
    return ManagerError(
        403,
        "AuthorizationFailed",
        f"'{name}' (object id '{caller.object_id}') has no role that permits '{action}' at '{scope}'. A"
        " caller that may assign roles there can fix this: az role assignment create --assignee-object-id"
        f" {caller.object_id} --role ROLE --scope {scope}",
        action=action,
    )


def group_not_found(group: str) -> ManagerError:
    return not_found("ResourceGroupNotFound", f"There is no resource group '{group}'.")


def resource_not_found(kind: str, name: str, group: str) -> ManagerError:
    return not_found(
        "ResourceNotFound", f"There is no resource '{kind}/{name}' in resource group '{group}'."
    )


# Parts of paths that are not served, in lower case, and what to use instead.
_INSTEAD = {"/providers/microsoft.insights/eventtypes/": "`podpass audit` lists who changed what"}


def not_served(method: str, path: str) -> ManagerError:
    instead = [text for part, text in _INSTEAD.items() if part in path.lower()]
    hint = [*instead, "see docs/develop/resource-manager.md for the served paths"][0]
    return not_found("NotFound", f"podpass does not serve {method} {path}; {hint}.")


def precondition_failed(what: str) -> ManagerError:
    return ManagerError(
        412,
        "PreconditionFailed",
        f"{what} does not match the If-Match or If-None-Match header. Read it again, then retry.",
    )
