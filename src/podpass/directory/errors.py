"""Errors of the directory. Each API translates them into the error codes of its service."""

from podpass.errors import Error


class DirectoryError(Error):
    """The directory rejects a write."""

    code = "directory_refused"
    status = 400


class InvalidValue(DirectoryError):
    """A value is invalid; `field` names it."""

    code = "invalid_value"


class InvalidCredential(DirectoryError):
    """A federated credential breaks rules; `faults` lists all of them."""

    code = "invalid_federated_credential"


class InvalidExpression(InvalidValue):
    """The expression of a flexible federated credential breaks a rule, or its issuer allows none."""

    code = "invalid_expression"


class TooManyCredentials(DirectoryError):
    """An identity has the maximum number of federated credentials."""

    code = "too_many_federated_credentials"
    hint = "delete an unused one, or use a separate identity for this workload"


class TrustNotUnique(DirectoryError):
    """Another federated credential of the identity trusts the same issuer and subject."""

    code = "issuer_and_subject_not_unique"
    status = 409
    hint = "change or delete the other one"


class Conflict(DirectoryError):
    """An object with this name or id exists, and cannot be changed as requested."""

    code = "conflict"
    status = 409


class NotFound(DirectoryError):
    """An object that a write refers to does not exist."""

    code = "not_found"
    status = 404


class GroupNotFound(NotFound):
    """The resource group of a new resource does not exist."""

    code = "resource_group_not_found"


class NameHeld(Conflict):
    """A soft-deleted vault has this name until it is purged or its retention time is over."""

    code = "name_held_by_deleted"
    hint = "recover the deleted vault, purge it, or use another name"


class AssignmentExists(Conflict):
    """The principal already has this role at this scope, in an assignment with another name."""

    code = "role_assignment_exists"


class InUse(Conflict):
    """An object cannot be deleted while another one refers to it."""

    code = "in_use"


class PurgeProtected(DirectoryError):
    """A vault with purge protection cannot be purged before its retention time is over."""

    code = "purge_protected"
    status = 409


class TooMany(DirectoryError):
    """An object has the maximum number of elements; `limit` is that number."""

    code = "too_many"


class PageExpired(DirectoryError):
    """The last entry of the previous page no longer exists."""

    code = "page_expired"
    hint = "start again at the first page"
