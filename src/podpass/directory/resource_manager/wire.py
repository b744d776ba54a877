"""Parts of request and response bodies that all resources share: members, tags, pages, ETags. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from podpass.crypto import jose
from podpass.directory import naming
from podpass.directory.errors import DirectoryError, GroupNotFound
from podpass.directory.resource_manager import errors, locations
from podpass.directory.resource_manager.model import ManagerResponse, OperationContext
from podpass.directory.resource_manager.paging import ListPage
from podpass.directory.resource_manager.query import next_link

MAX_TEXT = 1024
_MAX_DEPTH = 32

Item = TypeVar("Item")


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a body, which must be a JSON object with unique members. Raises ManagerError."""
    try:
        found = jose.loads_object(body)
    except jose.MalformedToken as exc:
        raise errors.invalid_content("it is not a JSON object with unique members") from exc
    if _depth(found) > _MAX_DEPTH:
        raise errors.invalid_content(f"it is nested more than {_MAX_DEPTH} levels deep")
    return found


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level and deepest <= _MAX_DEPTH:
        deepest += 1
        inner: list[Any] = []
        for one in level:
            if isinstance(one, Mapping):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = inner
    return deepest


def text(given: Mapping[str, Any], name: str, *, limit: int = MAX_TEXT) -> str | None:
    """Parse a string member; None if it is absent or null. Raises ManagerError."""
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise errors.invalid_content(f"'{name}' is not a string")
    if value is not None and len(value) > limit:
        raise errors.invalid_content(f"'{name}' is longer than {limit} characters")
    return value


def boolean(given: Mapping[str, Any], name: str) -> bool | None:
    """Parse a boolean member; None if it is absent or null. Raises ManagerError."""
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise errors.invalid_content(f"'{name}' is not true or false")
    return value


def object_member(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Parse an object member; empty if it is absent or null. Raises ManagerError."""
    value = given.get(name)
    if value is not None and not isinstance(value, dict):
        raise errors.invalid_content(f"'{name}' is not an object")
    return value or {}


def object_list(given: Mapping[str, Any], name: str) -> list[dict[str, Any]] | None:
    """Parse a member that is a list of objects; None if it is absent or null. Raises ManagerError."""
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise errors.invalid_content(f"'{name}' is not a list of objects")
    return value


def text_list(given: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Parse a member that is a list of strings; None if it is absent or null. Raises ManagerError."""
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise errors.invalid_content(f"'{name}' is not a list of strings")
    return tuple(value)


def tags(given: Mapping[str, Any]) -> dict[str, str] | None:
    """Parse tags; None if the body has no tags. Raises ManagerError."""
    value = given.get("tags")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise errors.invalid_content("'tags' is not an object")
    # Clients write an empty value as null.
    found = {name: "" if text is None else text for name, text in value.items()}
    if not all(isinstance(text, str) for text in found.values()):
        raise errors.invalid_content("the value of a tag is not a string")
    if (fault := naming.tags_fault(found)) is not None:
        raise errors.bad_request("InvalidTag", f"The tags are invalid: {fault.message}.")
    return found


def location(given: Mapping[str, Any], kind: str) -> str:
    """Parse the location of a resource; return its short name.

    Raises ManagerError, LocationRequired or LocationNotAvailableFor...
    """
    value = text(given, "location")
    if not value:
        raise errors.bad_request("LocationRequired", f"A {kind} must have a 'location'.")
    name = locations.normalize(value)
    if name not in locations.BY_NAME:
        suffix = "Group" if kind == "resource group" else "Type"
        raise errors.bad_request(
            f"LocationNotAvailableForResource{suffix}",
            f"The location '{value}' is not available for a {kind}; `az account list-locations` lists the"
            " available locations.",
        )
    return name


def require_same_location(kind: str, name: str, old: str, new: str) -> None:
    """Reject a change of the location of a resource. Raises ManagerError."""
    if old != new:
        raise errors.conflict(
            "InvalidResourceLocation",
            f"The {kind} '{name}' is in location '{old}' and cannot be moved to '{new}'. Delete it first, or"
            " use another name.",
        )


def format_time(seconds: float) -> str:
    """Format a time as Resource Manager does, with a fraction of seconds."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


def etag(shown: Mapping[str, Any]) -> str:
    """Return the ETag of a resource: a digest of its response body."""
    written = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(written).hexdigest()[:32]


def check_etag(context: OperationContext, resource: str, current: str | None) -> None:
    """Reject a write if its If-Match or If-None-Match header does not allow the current ETag.

    Raises ManagerError, PreconditionFailed.
    """
    required, forbidden = _parse_etags(context.if_match), _parse_etags(context.if_none_match)
    if required and (current is None or not required & {"*", current}):
        raise errors.precondition_failed(resource)
    if forbidden and current is not None and forbidden & {"*", current}:
        raise errors.precondition_failed(resource)


def _parse_etags(value: str | None) -> set[str]:
    parts = (value or "").split(",")
    return {part.strip().removeprefix("W/").strip('"') for part in parts if part.strip()}


def page_response(
    context: OperationContext, found: ListPage[Item], write: Callable[[Item], Mapping[str, Any]]
) -> ManagerResponse:
    """Return one page of a list as a response."""
    body: dict[str, Any] = {"value": [write(one) for one in found.items]}
    if found.after is not None:
        body["nextLink"] = next_link(context, found.after)
    return ManagerResponse(body=body)


def list_response(found: Iterable[Mapping[str, Any]]) -> ManagerResponse:
    """Return a complete list as a response; it always fits on one page."""
    return ManagerResponse(body={"value": list(found)})


def from_directory_error(refused: DirectoryError) -> errors.ManagerError:
    """Convert an error of the store that no operation has converted."""
    if isinstance(refused, GroupNotFound):
        return errors.group_not_found(str(refused.facts["group"]))
    codes = {400: "BadRequest", 404: "ResourceNotFound", 409: "Conflict"}
    text = f"{refused.message[:1].upper()}{refused.message[1:]}."
    return errors.ManagerError(refused.status, codes[refused.status], text, hint=refused.hint)
