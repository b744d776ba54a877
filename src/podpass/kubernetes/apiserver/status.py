"""The API's answers that are not objects: `Status` bodies, and the error that becomes one.

Every refusal in the cluster is a `StatusError`; the edge answers `error.body()` under
`error.status`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypedDict, Unpack

from podpass.errors import Error
from podpass.kubernetes.apiserver.kinds import Kind

Body = dict[str, Any]


class Why(StrEnum):
    """Reasons a cause gives for a field."""

    REQUIRED = "FieldValueRequired"
    INVALID = "FieldValueInvalid"
    DUPLICATE = "FieldValueDuplicate"
    NOT_FOUND = "FieldValueNotFound"
    NOT_SUPPORTED = "FieldValueNotSupported"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    MANAGER_CONFLICT = "FieldManagerConflict"
    NAMESPACE_TERMINATING = "NamespaceTerminating"


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with an object.

    Shapes:  `field` is a path as in `spec.containers[0].image` or `data[tls.crt]`; `reason` may
             be empty.
    """

    reason: str
    message: str
    field: str = ""

    def body(self) -> Body:
        every = {"reason": str(self.reason), "message": self.message, "field": self.field}
        return {name: value for name, value in every.items() if value}


class About(TypedDict, total=False):
    """What an answer is about; `kind` is a plural or a kind, as the real API has it."""

    name: str
    kind: str
    group: str
    uid: str


class StatusError(Error):
    """The API refuses a request.

    Shapes:  `kind` is a plural (`pods`) except in Invalid, where it is the kind (`Pod`), as the
             real API answers; `details=True` writes an empty `details` where the real one does.
    """

    code = "status"

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        causes: Sequence[Cause] = (),
        retry_after: int | None = None,
        details: bool = False,
        **about: Unpack[About],
    ) -> None:
        super().__init__(message, reason=reason, **about)
        self.status = code
        self.reason = reason
        self.name = about.get("name")
        self.kind = about.get("kind")
        self.causes = list(causes)
        self.retry_after = retry_after
        self.go_on = ""
        self._details = _details(
            name=about.get("name"),
            group=about.get("group"),
            kind=about.get("kind"),
            uid=about.get("uid"),
            causes=[cause.body() for cause in causes],
            retryAfterSeconds=retry_after,
        )
        self._with_details = details or bool(self._details)

    def body(self) -> Body:
        """Write the error as a `Status` of the API."""
        body = _status("Failure") | {"message": self.message}
        if self.go_on:
            body["metadata"] = {"continue": self.go_on}
        if self.reason:
            body["reason"] = self.reason
        if self._with_details:
            body["details"] = self._details
        return body | {"code": self.status}


def _status(outcome: str) -> Body:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome}


def _details(**fields: object) -> Body:
    return {name: value for name, value in fields.items() if value}


def success(code: int | None = None) -> Body:
    """Write the `Status` of what was done and has no object to show, as binding and eviction."""
    return _status("Success") | ({"code": code} if code else {})


def deleted(kind: Kind, name: str, uid: str) -> Body:
    """Write the `Status` of a finished deletion."""
    details = _details(name=name, group=kind.group, kind=kind.plural, uid=uid)
    return _status("Success") | {"details": details}


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def not_a_number(name: str, text: str) -> StatusError:
    """Refuse a parameter; it is shown only as far as a number could reach."""
    return bad_request(f"{name} {text[:20]!r} is not a number")


def unauthorized(message: str = "Unauthorized") -> StatusError:
    return StatusError(401, "Unauthorized", message)


def forbidden(
    kind: str, message: str, *, name: str = "", group: str = "", causes: Sequence[Cause] = ()
) -> StatusError:
    """Refuse by policy; `kind` is a plural."""
    return StatusError(
        403, "Forbidden", message, name=name, kind=kind, group=group, causes=causes, details=True
    )


def not_found(kind: Kind, name: str) -> StatusError:
    message = f'{kind.resource} "{name}" not found'
    return StatusError(404, "NotFound", message, name=name, kind=kind.plural, group=kind.group)


def no_such_resource() -> StatusError:
    """Answer a path that names no resource."""
    message = "the server could not find the requested resource"
    return StatusError(404, "NotFound", message, details=True)


def method_not_allowed(method: str) -> StatusError:
    message = f"{method} is not supported on this resource"
    return StatusError(405, "MethodNotAllowed", message, details=True)


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    message = "only the following media types are accepted: " + ", ".join(accepted)
    return StatusError(406, "NotAcceptable", message, details=True)


def unsupported_media_type(accepted: Sequence[str], *, patch: bool = False) -> StatusError:
    message = "the body of the request was in an unknown format; accepted: " + ", ".join(accepted)
    return StatusError(415, "UnsupportedMediaType", message, details=patch)


def already_exists(kind: Kind, name: str) -> StatusError:
    message = f'{kind.resource} "{name}" already exists'
    return StatusError(409, "AlreadyExists", message, name=name, kind=kind.plural, group=kind.group)


def conflict(kind: Kind, name: str, why: str, *, details_kind: str = "") -> StatusError:
    """Refuse because the object has moved on; `details_kind` where it is not the plural."""
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return StatusError(
        409, "Conflict", message, name=name, kind=details_kind or kind.plural, group=kind.group
    )


def expired(message: str, *, go_on: str = "") -> StatusError:
    """Say that a resourceVersion or continue token is too old (410); `go_on` is a token to use instead."""
    error = StatusError(410, "Expired", message)
    error.go_on = go_on
    return error


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> StatusError:
    """Refuse an object for what its fields say."""
    return invalid_options(kind.kind, causes, name=name, group=kind.group)


def invalid_options(
    kind: str, causes: Sequence[Cause], *, name: str = "", group: str = "meta.k8s.io"
) -> StatusError:
    """Refuse request options (`CreateOptions`, `PatchOptions`...) or any other body by its kind."""
    told = "; ".join(f"{cause.field}: {cause.message}" for cause in causes)
    of = f"{kind}.{group}" if group else kind
    message = f'{of} "{name}" is invalid: {told}'
    return StatusError(422, "Invalid", message, name=name, kind=kind, group=group, causes=causes)


def too_large(message: str) -> StatusError:
    """Refuse a body, or what a patch would make of an object, for its size."""
    return StatusError(413, "RequestEntityTooLarge", message, details=True)


def unprocessable(message: str) -> StatusError:
    """Refuse a patch that is well formed and cannot be carried out."""
    return StatusError(422, "Invalid", message, details=True)


def internal(message: str) -> StatusError:
    """Say that something behind the API failed, such as a webhook."""
    return StatusError(500, "InternalError", message, causes=[Cause("", message)])
