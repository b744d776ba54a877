"""`Status` bodies, and the error that is sent as one.

Every error response is a `StatusError`; the handler sends `error.body()` with the HTTP status
`error.status`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypedDict, Unpack

from kubeling.apiserver.kinds import Kind
from kubeling.errors import Error

Body = dict[str, Any]
_MAX_CAUSES = 1000  # an object can have a mistake in each of its 65,536 values


class CauseType(StrEnum):
    """Machine-readable reasons of a cause."""

    REQUIRED = "FieldValueRequired"
    INVALID = "FieldValueInvalid"
    TYPE_INVALID = "FieldValueTypeInvalid"
    DUPLICATE = "FieldValueDuplicate"
    NOT_FOUND = "FieldValueNotFound"
    NOT_SUPPORTED = "FieldValueNotSupported"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    MANAGER_CONFLICT = "FieldManagerConflict"
    NAMESPACE_TERMINATING = "NamespaceTerminating"


@dataclass(frozen=True, slots=True)
class Cause:
    """One problem of an object, in `details.causes` of a Status.

    `field` is a path as in `spec.containers[0].image` or `data[tls.crt]`; `reason` may be empty.
    """

    reason: str
    message: str
    field: str = ""

    def body(self) -> Body:
        """Return the cause as JSON, without empty fields."""
        fields = {"reason": str(self.reason), "message": self.message, "field": self.field}
        return {name: value for name, value in fields.items() if value}


class StatusDetails(TypedDict, total=False):
    """The object in `details` of a Status; `kind` is a plural or a kind, as in the real API."""

    name: str
    kind: str
    group: str
    uid: str


class StatusError(Error):
    """An error response of the API.

    `kind` is a plural (`pods`); for the reason Invalid it is the kind (`Pod`), as in the real API;
    `details=True` writes an empty `details` where the real API does.
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
        **object_details: Unpack[StatusDetails],
    ) -> None:
        super().__init__(message, reason=reason, **object_details)
        self.status = code
        self.reason = reason
        self.name = object_details.get("name")
        self.kind = object_details.get("kind")
        self.causes = list(causes)
        self.retry_after = retry_after
        self.continue_token = ""
        self._details = _details(
            name=object_details.get("name"),
            group=object_details.get("group"),
            kind=object_details.get("kind"),
            uid=object_details.get("uid"),
            causes=[cause.body() for cause in causes],
            retryAfterSeconds=retry_after,
        )
        self._with_details = details or bool(self._details)

    def body(self) -> Body:
        """Return the error as a `Status` object."""
        body = _status("Failure") | {"message": self.message}
        if self.continue_token:
            body["metadata"] = {"continue": self.continue_token}
        if self.reason:
            body["reason"] = self.reason
        if self._with_details:
            body["details"] = self._details
        return body | {"code": self.status}


def _status(outcome: str) -> Body:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome}


def _details(**fields: object) -> Body:
    return {name: value for name, value in fields.items() if value}


def success_status(code: int | None = None) -> Body:
    """Build the `Status` of a successful request that returns no object, such as a binding or an eviction."""
    return _status("Success") | ({"code": code} if code else {})


def deletion_status(kind: Kind, name: str, uid: str) -> Body:
    """Build the `Status` of a completed deletion."""
    details = _details(name=name, group=kind.group, kind=kind.plural, uid=uid)
    return _status("Success") | {"details": details}


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def not_a_number(name: str, text: str) -> StatusError:
    """Refuse a parameter that is not a number; the message shows only its first characters."""
    return bad_request(f"{name} {text[:20]!r} is not a number")


def unauthorized(message: str = "Unauthorized") -> StatusError:
    return StatusError(401, "Unauthorized", message)


def forbidden(
    kind: str, message: str, *, name: str = "", group: str = "", causes: Sequence[Cause] = ()
) -> StatusError:
    """Refuse a request by policy (403); `kind` is a plural."""
    return StatusError(
        403, "Forbidden", message, name=name, kind=kind, group=group, causes=causes, details=True
    )


def forbidden_object(
    kind: Kind, name: str, reason: str, causes: Sequence[Cause] = ()
) -> StatusError:
    """Refuse a write of an object by policy (403)."""
    message = f'{kind.resource} "{name}" is forbidden: {reason}'
    return forbidden(kind.plural, message, name=name, group=kind.group, causes=causes)


def not_found(kind: Kind, name: str) -> StatusError:
    message = f'{kind.resource} "{name}" not found'
    return StatusError(404, "NotFound", message, name=name, kind=kind.plural, group=kind.group)


def no_such_resource() -> StatusError:
    """Refuse a path that names no resource (404)."""
    message = "the server could not find the requested resource"
    return StatusError(404, "NotFound", message, details=True)


def method_not_allowed() -> StatusError:
    message = "the server does not allow this method on the requested resource"
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


def conflict(kind: Kind, name: str, reason: str, *, details_kind: str = "") -> StatusError:
    """Refuse a write to an object that was changed (409); `details_kind` replaces the plural in `details`."""
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {reason}'
    return StatusError(
        409, "Conflict", message, name=name, kind=details_kind or kind.plural, group=kind.group
    )


def expired(message: str, *, continue_token: str = "") -> StatusError:
    """Refuse a resourceVersion or continue token that is too old (410); `continue_token` is a new token."""
    error = StatusError(410, "Expired", message)
    error.continue_token = continue_token
    return error


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> StatusError:
    """Refuse an object with invalid fields (422)."""
    return invalid_options(kind.kind, causes, name=name, group=kind.group)


def invalid_options(
    kind: str, causes: Sequence[Cause], *, name: str = "", group: str = "meta.k8s.io"
) -> StatusError:
    """Refuse request options (`CreateOptions`, `PatchOptions`...) or another body by its kind (422)."""
    causes = causes[:_MAX_CAUSES]
    reasons = "; ".join(f"{cause.field}: {cause.message}" for cause in causes)
    qualified = f"{kind}.{group}" if group else kind
    message = f'{qualified} "{name}" is invalid: {reasons}'
    return StatusError(422, "Invalid", message, name=name, kind=kind, group=group, causes=causes)


def too_large(message: str) -> StatusError:
    """Refuse a body or a patched object that is too large (413)."""
    return StatusError(413, "RequestEntityTooLarge", message, details=True)


def unprocessable(message: str) -> StatusError:
    """Refuse a well-formed patch that cannot be applied (422)."""
    return StatusError(422, "Invalid", message, details=True)


def service_unavailable(message: str) -> StatusError:
    """Report that no server can handle the request now (503)."""
    return StatusError(503, "ServiceUnavailable", message, details=True)


def internal(message: str) -> StatusError:
    """Report that a dependency of the API server failed (500), such as a webhook."""
    return StatusError(500, "InternalError", message, causes=[Cause("", message)])


_ESCAPES = {char: f"\\{name}" for char, name in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)}


def quote(text: str) -> str:
    """Quote a text as Go's `%q` does: characters that cannot be printed are escaped."""
    return f'"{"".join(map(_escape, text))}"'


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
