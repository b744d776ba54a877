"""Preconditions of writes: the name, namespace, uid and resourceVersion of the object."""

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.request import Request
from kubeling.apiserver.status import StatusError, bad_request, conflict, invalid
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
