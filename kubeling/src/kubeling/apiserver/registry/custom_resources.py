"""What the registry checks for a custom resource and does not check for a built-in kind."""

from collections.abc import Mapping
from typing import Any

from kubeling.apiserver.customresources.served_kinds import DEFINITION
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.status import Cause, CauseType, StatusError, forbidden_object, invalid

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
