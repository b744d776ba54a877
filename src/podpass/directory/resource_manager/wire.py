"""What the bodies of all nouns have in common: members read strictly, pages, ETags. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson

from podpass.crypto import jose
from podpass.directory import naming
from podpass.directory.errors import DirectoryError, GroupNotFound
from podpass.directory.resource_manager import locations, refusals
from podpass.directory.resource_manager.lists import Found
from podpass.directory.resource_manager.model import Answer, Call
from podpass.directory.resource_manager.query import next_link

MAX_TEXT = 1024
_MAX_DEPTH = 32

Item = TypeVar("Item")


def read_object(body: bytes) -> dict[str, Any]:
    """Read a body that has to be an object with unique members.

    Errors:  ManagerRefusal.
    """
    try:
        found = jose.loads_object(body)
    except jose.MalformedToken as exc:
        raise refusals.content("it is not a JSON object with unique members") from exc
    if _depth(found) > _MAX_DEPTH:
        raise refusals.content(f"it is nested over {_MAX_DEPTH} levels deep")
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
    """Read a member that has to be text; None when it is absent or null.

    Errors:  ManagerRefusal.
    """
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise refusals.content(f"'{name}' is not text")
    if value is not None and len(value) > limit:
        raise refusals.content(f"'{name}' is longer than {limit} characters")
    return value


def flag(given: Mapping[str, Any], name: str) -> bool | None:
    """Read a member that has to be true or false; None when it is absent or null.

    Errors:  ManagerRefusal.
    """
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise refusals.content(f"'{name}' is neither true nor false")
    return value


def inner(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Read a member that has to be an object; an empty one when it is absent or null.

    Errors:  ManagerRefusal.
    """
    value = given.get(name)
    if value is not None and not isinstance(value, dict):
        raise refusals.content(f"'{name}' is not an object")
    return value or {}


def items(given: Mapping[str, Any], name: str) -> list[dict[str, Any]] | None:
    """Read a member that has to be a list of objects; None when it is absent or null.

    Errors:  ManagerRefusal.
    """
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise refusals.content(f"'{name}' is not a list of objects")
    return value


def texts(given: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Read a member that has to be a list of texts; None when it is absent or null.

    Errors:  ManagerRefusal.
    """
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise refusals.content(f"'{name}' is not a list of texts")
    return tuple(value)


def tags(given: Mapping[str, Any]) -> dict[str, str] | None:
    """Read tags; None when the body names none.

    Errors:  ManagerRefusal.
    """
    value = given.get("tags")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise refusals.content("'tags' is not an object")
    # Null is how clients write an empty value.
    found = {name: "" if text is None else text for name, text in value.items()}
    if not all(isinstance(text, str) for text in found.values()):
        raise refusals.content("a tag's value is not text")
    if (fault := naming.tags_fault(found)) is not None:
        raise refusals.bad("InvalidTag", f"The tags are not accepted: {fault.message}.")
    return found


def location(given: Mapping[str, Any], kind: str) -> str:
    """Read the location of a resource of some type, as its short name.

    Errors:  ManagerRefusal, LocationRequired or LocationNotAvailableFor...
    """
    value = text(given, "location")
    if not value:
        raise refusals.bad("LocationRequired", f"A {kind} needs a 'location'.")
    name = locations.short(value)
    if name not in locations.BY_NAME:
        suffix = "Group" if kind == "resource group" else "Type"
        raise refusals.bad(
            f"LocationNotAvailableForResource{suffix}",
            f"The location '{value}' is not available for a {kind}; `az account list-locations` lists those"
            " that are.",
        )
    return name


def stays(kind: str, name: str, old: str, new: str) -> None:
    """Refuse to move a resource to another location.

    Errors:  ManagerRefusal.
    """
    if old != new:
        raise refusals.conflict(
            "InvalidResourceLocation",
            f"The {kind} '{name}' is in location '{old}' and cannot be moved to '{new}'; delete it first, or"
            " take another name.",
        )


def moment(seconds: float) -> str:
    """Write a time as Resource Manager does, with a fraction."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")


def etag(shown: Mapping[str, Any]) -> str:
    """Name a state of a resource by what is shown of it."""
    written = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(written).hexdigest()[:32]


def check_etag(call: Call, what: str, there: str | None) -> None:
    """Refuse a write whose If-Match or If-None-Match does not fit the ETag there is (None: nothing is).

    Errors:  ManagerRefusal, PreconditionFailed.
    """
    wanted, unwanted = _etags(call.if_match), _etags(call.if_none_match)
    if wanted and (there is None or not wanted & {"*", there}):
        raise refusals.precondition_failed(what)
    if unwanted and there is not None and unwanted & {"*", there}:
        raise refusals.precondition_failed(what)


def _etags(value: str | None) -> set[str]:
    parts = (value or "").split(",")
    return {part.strip().removeprefix("W/").strip('"') for part in parts if part.strip()}


def page(call: Call, found: Found[Item], write: Callable[[Item], Mapping[str, Any]]) -> Answer:
    """Write one page of a list."""
    body: dict[str, Any] = {"value": [write(one) for one in found.items]}
    if found.after is not None:
        body["nextLink"] = next_link(call, found.after)
    return Answer(body=body)


def whole(found: Iterable[Mapping[str, Any]]) -> Answer:
    """Write a list that always fits on one page."""
    return Answer(body={"value": list(found)})


def of_directory(refused: DirectoryError) -> refusals.ManagerRefusal:
    """Translate what the store refuses and no noun has translated already."""
    if isinstance(refused, GroupNotFound):
        return refusals.group_not_found(str(refused.facts["group"]))
    codes = {400: "BadRequest", 404: "ResourceNotFound", 409: "Conflict"}
    text = f"{refused.message[:1].upper()}{refused.message[1:]}."
    return refusals.ManagerRefusal(refused.status, codes[refused.status], text, hint=refused.hint)
