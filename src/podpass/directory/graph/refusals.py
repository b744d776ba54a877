"""Every refusal of Graph, with the code and status that its clients know.

Codes and statuses are those of Microsoft Graph, the sentences our own (docs/decisions/0007). Where a released
client searches for a phrase, the phrase stays, with the client's name beside it.
"""

from collections.abc import Sequence

from podpass.database import DatabaseFailed
from podpass.directory import errors
from podpass.errors import Error


class GraphRefusal(Error):
    """A request Graph does not carry out; `wire_code` goes to the client.

    Shapes:  `conflict` names the property whose value another object has, for the answer's `details`.
    """

    code = "graph_refused"
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


class Malformed(GraphRefusal):
    """The request is not written as OData has it."""

    code = "graph_malformed"


class BadRequest(GraphRefusal):
    """The directory behind Graph does not take what the request holds."""

    code = "graph_bad_request"
    wire_code = "Request_BadRequest"


class Unsupported(GraphRefusal):
    """A query that Graph, or podpass, does not answer."""

    code = "graph_unsupported_query"
    wire_code = "Request_UnsupportedQuery"


class Unauthorized(GraphRefusal):
    """No token, or none that is accepted; the answer carries a challenge."""

    code = "graph_unauthorized"
    wire_code = "InvalidAuthenticationToken"
    status = 401


class Denied(GraphRefusal):
    """The caller is known and may not do this."""

    code = "graph_denied"
    wire_code = "Authorization_RequestDenied"
    status = 403


class QuotaExceeded(GraphRefusal):
    """An object holds as many of something as it may."""

    code = "graph_quota_exceeded"
    wire_code = "Directory_QuotaExceeded"
    status = 403


class Missing(GraphRefusal):
    """What the request names is not in the directory."""

    code = "graph_not_found"
    wire_code = "Request_ResourceNotFound"
    status = 404


class MethodNotAllowed(GraphRefusal):
    """The path is there, the method is not."""

    code = "graph_method_not_allowed"
    wire_code = "Request_BadRequest"
    status = 405


class Taken(GraphRefusal):
    """Something with this key is there already."""

    code = "graph_taken"
    wire_code = "Request_MultipleObjectsWithSameKeyValue"
    status = 409


class WrongMedia(GraphRefusal):
    """A body that is not JSON."""

    code = "graph_wrong_media"
    wire_code = "RequestBodyRead"
    status = 415


class TooLong(GraphRefusal):
    """A body beyond the limit."""

    code = "graph_too_long"
    wire_code = "RequestEntityTooLarge"
    status = 413


class Unavailable(GraphRefusal):
    """Graph cannot tell a good token from a bad one at the moment, or reach its database."""

    code = "graph_unavailable"
    wire_code = "ServiceUnavailable"
    status = 503


class Broken(GraphRefusal):
    """The database cannot be read as it should; somebody has to see to it."""

    code = "graph_broken"
    wire_code = "InternalServerError"
    status = 500


class NoRoom(GraphRefusal):
    """What is to be kept cannot be, until somebody has seen to the disk."""

    code = "graph_no_room"
    wire_code = "insufficientStorage"
    status = 507


def of_database(failed: DatabaseFailed) -> GraphRefusal:
    """Say that the directory's database does not do what it should, and what to do."""
    kinds = {each.status: each for each in (Unavailable, NoRoom, Broken)}
    text = f"Graph cannot do this: {failed.message}. Operator: {failed.hint}."
    return kinds[failed.status](text)


def missing(name: str) -> Missing:
    """Say that an object, or one it points at, is not there."""
    # az searches for " does not exist " (ad sp create-for-rbac), Terraform (azuread) for all after the name.
    return Missing(
        f"Resource '{name}' does not exist or one of its queried reference-property objects are not present.",
        name=name,
    )


def no_segment(segment: str) -> Malformed:
    """Say that Graph, as far as podpass has it, has nothing at this path."""
    return Malformed(
        f"Nothing is served at the segment '{segment}': docs/guides/graph.md lists what is."
    )


def denied(title: str, permissions: Sequence[str], *, is_user: bool) -> Denied:
    """Say what a caller is missing, and where it would come from."""
    # az (ad app create) searches for "insufficient privileges", in either case, to point at its help.
    needed = " or ".join(permissions)
    if is_user:
        cure = (
            f"the user's client needs the scope {needed or 'User.Read'} or Directory.AccessAsUser.All, and"
            " who changes anything needs the directory role Global Administrator"
        )
    else:
        cure = (
            f"the application needs the permission {needed}: give it by an appRoleAssignment of the service"
            " principal Microsoft Graph, and get a new token"
        )
    return Denied(
        f"Insufficient privileges: to {title}, {cure}.",
        needed=list(permissions),
    )


def of_directory(refused: errors.DirectoryError, *, name: str = "") -> GraphRefusal:
    """Say in Graph's codes what the directory refuses."""
    match refused:
        case errors.NotFound():
            return missing(name)
        case errors.TrustNotUnique() | errors.InvalidCredential():
            return BadRequest(refused.message, wire_code="InvalidFederatedIdentityCredentialValue")
        case errors.TooManyCredentials() | errors.TooMany():
            return QuotaExceeded(f"{refused.message}: {refused.hint}".rstrip(": "))
        case errors.PageExpired():
            return Malformed(
                "The $skiptoken is not valid any more.", wire_code="Directory_ExpiredPageToken"
            )
        case errors.Conflict():
            return Taken(refused.message)
        case _:
            return BadRequest(refused.message)
