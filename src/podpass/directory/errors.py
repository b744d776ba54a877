"""Every refusal of the directory; edges answer with the code of the service they stand for."""

from podpass.errors import Error


class DirectoryError(Error):
    """The directory refuses a write."""

    code = "directory_refused"
    status = 400


class InvalidValue(DirectoryError):
    """A name or id is not written as it must be; `field` says which."""

    code = "invalid_value"


class InvalidCredential(DirectoryError):
    """A federated credential breaks a rule; `faults` lists every one."""

    code = "invalid_federated_credential"


class TooManyCredentials(DirectoryError):
    """An identity has as many federated credentials as it may."""

    code = "too_many_federated_credentials"
    hint = "delete one that is no longer used, or give this workload an identity of its own"


class TrustNotUnique(DirectoryError):
    """Another federated credential of the identity trusts the same issuer and subject."""

    code = "issuer_and_subject_not_unique"
    status = 409
    hint = "change or delete the other one"


class Conflict(DirectoryError):
    """Something with this name or id is there already, and cannot become what was asked."""

    code = "conflict"
    status = 409


class NotFound(DirectoryError):
    """What a write names is not in the directory."""

    code = "not_found"
    status = 404


class GroupNotFound(NotFound):
    """The resource group that something is to lie in is not there, or not any more."""

    code = "resource_group_not_found"


class NameHeld(Conflict):
    """A deleted vault keeps its name until it is purged or its time is over."""

    code = "name_held_by_deleted"
    hint = "recover the deleted one, purge it, or take another name"


class AssignmentExists(Conflict):
    """The principal holds this role at this scope already, under another name."""

    code = "role_assignment_exists"


class InUse(Conflict):
    """It cannot be deleted while something refers to it."""

    code = "in_use"


class PurgeProtected(DirectoryError):
    """A vault that is protected goes when its time is over, and not before."""

    code = "purge_protected"
    status = 409


class TooMany(DirectoryError):
    """An object holds as many of something as it may; `limit` says how many."""

    code = "too_many"


class PageExpired(DirectoryError):
    """A page goes on from an entry that is gone."""

    code = "page_expired"
    hint = "begin again at the first page"
