"""Preconditions of writes: the name, namespace, uid and revision, and what only custom resources need."""

from collections.abc import Mapping
from typing import Any

from kubeling.apiserver.customresources.served_kinds import DEFINITION
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.request import Request
from kubeling.apiserver.status import (
    Cause,
    CauseType,
    StatusError,
    bad_request,
    conflict,
    forbidden_object,
    invalid,
)
from kubeling.apiserver.storage.storage import Object
from kubeling.apiserver.validation import rules


def set_namespace(request: Request, metadata: Object) -> None:
    """Set the namespace of the path in an object; refuse an object that names another namespace."""
    given, target = metadata.get("namespace") or "", request.namespaced_name[0]
    if given and given != target:
        raise bad_request(
            f"the namespace of the object ({given}) does not match the namespace on the URL ({target})"
        )
    metadata.pop("namespace", None)
    if target:
        metadata["namespace"] = target


def check_identity(request: Request, live: Object, patched: Object) -> Object:
    """Refuse a patch that changes the name, the namespace or the uid of its object."""
    metadata, name = patched.get("metadata") or {}, request.info.name
    if metadata.get("name") != name:
        raise bad_request(f"the name in the patched object is not that of the URL ({name})")
    set_namespace(request, metadata)
    # In an update the uid is a precondition (409); in a patch it is a field like others.
    if uid := metadata.get("uid"):
        causes = list(rules.immutable(uid, live["metadata"]["uid"], "metadata.uid"))
        if causes:
            raise invalid(request.kind, name, causes)
    return patched


def check_preconditions(kind: Kind, name: str, live: Object, sent: Object) -> None:
    """Refuse a change whose uid or resourceVersion is not that of the live object."""
    metadata = sent.get("metadata", {})
    if (uid := metadata.get("uid")) and uid != live["metadata"]["uid"]:
        reason = f"UID in precondition: {uid}, UID in object meta: {live['metadata']['uid']}"
        raise conflict(kind, name, reason)
    given = metadata.get("resourceVersion") or ""
    if given not in ("", "0", live["metadata"]["resourceVersion"]):
        raise modified_conflict(kind, name)


def modified_conflict(kind: Kind, name: str) -> StatusError:
    """Refuse a write because another client modified the object first (409)."""
    return conflict(
        kind,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


# A custom resource has no merge keys for a strategic merge patch.
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)


def check_not_terminating(kind: Kind, name: str) -> None:
    """Refuse a new object whose definition is being deleted. Raises StatusError 403."""
    if kind.custom is not None and kind.custom.is_terminating:
        reason = "create not allowed while custom resource definition is terminating"
        raise forbidden_object(kind, name, reason)


def check_has_revision(kind: Kind, name: str, metadata: Mapping[str, Any]) -> None:
    """Refuse an update that does not name the resourceVersion that it replaces. Raises StatusError 422."""
    is_custom = kind.custom is not None or kind == DEFINITION
    if is_custom and not metadata.get("resourceVersion"):
        reason = "must be given for an update"
        raise invalid(kind, name, [Cause(CauseType.INVALID, reason, "metadata.resourceVersion")])


def check_declared(kind: Kind, name: str, applied: Any) -> None:
    """Refuse to apply a field that the schema does not declare.

    Raises StatusError 500 without a reason, as from the real API server.
    """
    if kind.custom is None or not isinstance(applied, dict):
        return
    if undeclared := kind.custom.unknown_fields(applied):
        named = f"/{name}; {kind.api_version}, Kind={kind.kind}"
        faults = "; ".join(f".{path}: field not declared in schema" for path in undeclared)
        raise StatusError(500, "", f"failed to create typed patch object ({named}): {faults}")
