"""Every refusal of Resource Manager, with the status and code that its clients know. Sentences are ours.

Source:  https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
"""

from podpass.directory.access import Caller, NotAdmitted, Reason
from podpass.errors import Error


class ManagerRefusal(Error):
    """A request Resource Manager does not carry out; `wire_code` goes to the client."""

    code = "resource_manager_refused"

    def __init__(
        self, status: int, wire_code: str, message: str, *, hint: str | None = None, **facts: object
    ) -> None:
        super().__init__(message, hint=hint, **facts)
        self.status = status
        self.wire_code = wire_code


class Unauthorized(ManagerRefusal):
    """No token, or none that is accepted; the answer carries the challenge."""

    code = "resource_manager_unauthorized"


def bad(wire_code: str, message: str) -> ManagerRefusal:
    """Refuse a request that is not written as it must be."""
    return ManagerRefusal(400, wire_code, message)


def content(message: str) -> ManagerRefusal:
    """Refuse a body that cannot be read as what it should be."""
    return bad("InvalidRequestContent", f"The request's body does not fit: {message}.")


def conflict(wire_code: str, message: str) -> ManagerRefusal:
    """Refuse what cannot be beside what is there."""
    return ManagerRefusal(409, wire_code, message)


def missing(wire_code: str, message: str) -> ManagerRefusal:
    """Say that something is not there."""
    return ManagerRefusal(404, wire_code, message)


_CODES = {
    Reason.MISSING: "AuthenticationFailed",
    Reason.INVALID: "InvalidAuthenticationToken",
    Reason.EXPIRED: "ExpiredAuthenticationToken",
    Reason.AUDIENCE: "InvalidAuthenticationTokenAudience",
    Reason.TENANT: "InvalidAuthenticationTokenTenant",
}


def of_token(refused: NotAdmitted) -> ManagerRefusal:
    """Say why a caller is not let in."""
    if refused.reason is Reason.UNAVAILABLE:
        text = "Access tokens cannot be checked at the moment; try again."
        return ManagerRefusal(503, "ServiceUnavailable", text)
    code = _CODES[refused.reason]
    return Unauthorized(401, code, f"{refused.message}.", hint=refused.hint)


def not_authorized(caller: Caller, action: str, scope: str) -> ManagerRefusal:
    """Refuse for want of a role: who, what for, where, and how to get it."""
    who = caller.name if caller.is_user else caller.app_id
    return ManagerRefusal(
        403,
        "AuthorizationFailed",
        f"'{who}' (object id '{caller.object_id}') holds no role that permits '{action}' at '{scope}'."
        " Somebody who may assign roles there can give one: az role assignment create --assignee-object-id"
        f" {caller.object_id} --role ROLE --scope {scope}",
        action=action,
    )


def group_not_found(group: str) -> ManagerRefusal:
    return missing("ResourceGroupNotFound", f"There is no resource group '{group}'.")


def resource_not_found(kind: str, name: str, group: str) -> ManagerRefusal:
    return missing(
        "ResourceNotFound", f"There is no resource '{kind}/{name}' in resource group '{group}'."
    )


def not_served(method: str, path: str) -> ManagerRefusal:
    return missing(
        "NotFound",
        f"podpass does not serve {method} {path}; docs/guides/resource-manager.md lists what it does.",
    )


def precondition_failed(what: str) -> ManagerRefusal:
    return ManagerRefusal(
        412,
        "PreconditionFailed",
        f"{what} is not as the request's If-Match or If-None-Match wants it; read it again.",
    )
