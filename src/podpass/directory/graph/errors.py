"""The errors of Graph, with the codes and statuses that its clients expect.

Codes and statuses are those of Microsoft Graph; the messages are podpass's own (docs/decisions/0013). Where a
released client searches for a phrase, the message contains it, and a comment names the client.
"""

from collections.abc import Sequence

from podpass.database import DatabaseFailed
from podpass.directory import errors
from podpass.errors import Error
from podpass.http.server import BodyRefused


class GraphError(Error):
    """A request that Graph rejects; `wire_code` is the error code in the response.

    `conflict` names the property whose value another object already has, for `details`.
    """

    code = "graph_error"
    wire_code = "BadRequest"
    status = 400

    def __init__(
        self, message: str, *, wire_code: str | None = None, conflict: str = "", **facts: object
    ) -> None:
        super().__init__(message)
        self.facts = facts
        if wire_code is not None:
            self.wire_code = wire_code
        self.conflict = conflict


class MalformedRequest(GraphError):
    """The request is not valid OData."""

    code = "graph_malformed_request"


class InvalidRequest(GraphError):
    """The directory does not accept the content of the request."""

    code = "graph_invalid_request"
    wire_code = "Request_BadRequest"


class UnsupportedQuery(GraphError):
    """A query that Graph, or podpass, does not support."""

    code = "graph_unsupported_query"
    wire_code = "Request_UnsupportedQuery"


class GraphUnauthorized(GraphError):
    """The request has no access token, or one that is not accepted; the response has a challenge."""

    code = "graph_unauthorized"
    wire_code = "InvalidAuthenticationToken"
    status = 401


class AccessDenied(GraphError):
    """The caller is authenticated but not authorized."""

    code = "graph_access_denied"
    wire_code = "Authorization_RequestDenied"
    status = 403


class QuotaExceeded(GraphError):
    """The object has the maximum number of owners, credentials or grants."""

    code = "graph_quota_exceeded"
    wire_code = "Directory_QuotaExceeded"
    status = 403


class ResourceNotFound(GraphError):
    """The directory has no object of the requested ID or key."""

    code = "graph_not_found"
    wire_code = "Request_ResourceNotFound"
    status = 404


class GraphMethodNotAllowed(GraphError):
    """The path exists, but not for this method."""

    code = "graph_method_not_allowed"
    wire_code = "Request_BadRequest"
    status = 405


class DuplicateKey(GraphError):
    """Another object already has this key."""

    code = "graph_duplicate_key"
    wire_code = "Request_MultipleObjectsWithSameKeyValue"
    status = 409


class UnsupportedMediaType(GraphError):
    """The body is not JSON."""

    code = "graph_unsupported_media_type"
    wire_code = "RequestBodyRead"
    status = 415


class EntityTooLarge(GraphError):
    """The body is larger than the limit."""

    code = "graph_entity_too_large"
    wire_code = "RequestEntityTooLarge"
    status = 413


class GraphUnavailable(GraphError):
    """Graph cannot verify access tokens, or cannot reach its database."""

    code = "graph_unavailable"
    wire_code = "ServiceUnavailable"
    status = 503


class GraphInternalError(GraphError):
    """The database cannot be read; an operator must repair it."""

    code = "graph_internal_error"
    wire_code = "InternalServerError"
    status = 500


class GraphInsufficientStorage(GraphError):
    """A write fails until an operator frees disk space or makes the disk writable."""

    code = "graph_insufficient_storage"
    wire_code = "insufficientStorage"
    status = 507


def from_database_error(failed: DatabaseFailed) -> GraphError:
    """Convert a database error."""
    by_status = {
        each.status: each
        for each in (GraphUnavailable, GraphInsufficientStorage, GraphInternalError)
    }
    text = f"Graph cannot process the request: {failed.message}. Operator: {failed.hint}."
    return by_status[failed.status](text)


def from_refused_body(refused: BodyRefused) -> GraphError:
    """Convert the error of a body that is too large or cannot be decoded."""
    kinds: dict[int, type[GraphError]] = {
        each.status: each for each in (EntityTooLarge, UnsupportedMediaType)
    }
    return kinds.get(refused.status, MalformedRequest)(
        f"The request is not accepted: {refused.message}."
    )


def not_found(name: str) -> ResourceNotFound:
    """Return the error for an object, or a referenced object, that does not exist."""
    # az (ad sp create-for-rbac) searches for " does not exist ", Terraform (azuread) for the text after the
    # name.
    return ResourceNotFound(
        f"Resource '{name}' does not exist or one of its queried reference-property objects are not present.",
        name=name,
    )


def unknown_segment(segment: str) -> MalformedRequest:
    """Return the error for a path that is not served."""
    return MalformedRequest(
        f"The path segment '{segment}' is not served. See docs/develop/graph.md for the served paths."
    )


def access_denied(title: str, alternatives: Sequence[str], *, is_user: bool) -> AccessDenied:
    """Return the error for a missing permission, and how to get it.

    Each of `alternatives` is a sufficient permission, or several joined by `and`.
    """
    # az (ad app create) searches for "insufficient privileges", case-insensitively, to show its help.
    needed = " or ".join(alternatives)
    if is_user:
        fix = (
            f"the user's client needs the scope {needed or 'User.Read'} or Directory.AccessAsUser.All. To"
            " change an object, the user also needs the directory role Global Administrator"
        )
    else:
        fix = (
            f"the application needs the permission {needed}. Assign it with an appRoleAssignment of the"
            " service principal Microsoft Graph, then request a new token"
        )
    return AccessDenied(f"Insufficient privileges: to {title}, {fix}.", needed=list(alternatives))


def from_directory_error(refused: errors.DirectoryError, *, name: str = "") -> GraphError:
    """Convert an error of the directory to Graph's codes."""
    match refused:
        case errors.NotFound():
            return not_found(name)
        case errors.TrustNotUnique() | errors.InvalidCredential():
            return InvalidRequest(
                refused.message, wire_code="InvalidFederatedIdentityCredentialValue"
            )
        case errors.TooManyCredentials() | errors.TooMany():
            return QuotaExceeded(f"{refused.message}: {refused.hint}".rstrip(": "))
        case errors.PageExpired():
            return MalformedRequest(
                "The $skiptoken has expired. Start the list again from its first page.",
                wire_code="Directory_ExpiredPageToken",
            )
        case errors.Conflict():
            return DuplicateKey(refused.message)
        case _:
            return InvalidRequest(refused.message)
