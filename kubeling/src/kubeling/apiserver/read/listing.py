"""Get and list requests: selectors, chunking with limit and continue, and resourceVersion."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from kubeling import int64
from kubeling.apiserver import selectors
from kubeling.apiserver.read import object_response
from kubeling.apiserver.read.object_response import ListResult
from kubeling.apiserver.request import Request
from kubeling.apiserver.selectors import Predicate
from kubeling.apiserver.status import (
    Cause,
    CauseType,
    StatusError,
    bad_request,
    expired,
    invalid_options,
    not_a_number,
    not_found,
)
from kubeling.apiserver.storage.fairness import CooperativeYield
from kubeling.apiserver.storage.storage import NamespacedName, Object, ObjectStore, StoredObject
from kubeling.apiserver.storage.watch_cache import ResourceExpired

_MATCHES = ("", "Exact", "NotOlderThan")
_INCONSISTENT = -1
_TOO_OLD = (
    "the continue parameter is too old for a consistent list: start again without it, or continue with the "
    "continue token of this response; the list may then include or miss objects that were created, changed "
    "or deleted since the first page"
)


def get_object(store: ObjectStore, request: Request) -> Object:
    """Return the object of a request. Raises StatusError 404, 504."""
    check_not_future(store, requested_revision(request))
    obj = store.get(request.kind, *request.namespaced_name)
    if obj is None:
        raise not_found(request.kind, request.info.name)
    return obj


def parse_selectors(request: Request) -> Predicate | None:
    """Parse a request's selectors into one predicate; None if it has none. Raises StatusError 400."""
    tests = []
    if text := request.option("labelSelector"):
        tests.append(selectors.parse_label_selector(text))
    if text := request.option("fieldSelector"):
        tests.append(selectors.parse_field_selector(request.kind, text))
    if not tests:
        return None
    return lambda obj: all(test(obj) for test in tests)


async def list_objects(store: ObjectStore, request: Request) -> ListResult:
    """Return one page of a list; all pages of a list have the revision of the first page.

    Raises StatusError 400, 410, 422, 504.
    """
    predicate, position = parse_selectors(request), _position(store, request)
    found = _list_stored(store, request, position)
    # Revision 0 accepts any state, and the whole list is returned without a limit, as in the real API.
    limit = 0 if request.option("resourceVersion") == "0" else _limit(request)
    stored, has_more = await _filter(found, predicate, limit)
    metadata: dict[str, Any] = {"resourceVersion": str(position.revision)}
    if has_more:
        metadata["continue"] = _continue_token(
            (stored[-1].namespace, stored[-1].name), position.revision
        )
        if predicate is None:
            metadata["remainingItemCount"] = len(found) - len(stored)
    raws = [object_response.in_version(request.kind, entry.raw) for entry in stored]
    return ListResult(raws, metadata)


@dataclass(frozen=True, slots=True)
class _ListPosition:
    """The position of a page: the revision of the list, and the name after which the page starts."""

    revision: int
    after: NamespacedName | None = None


def _position(store: ObjectStore, request: Request) -> _ListPosition:
    """Return the position of a page from the continue token or the resourceVersion."""
    requested, match = requested_revision(request), _check_version_match(request, store)
    token = request.option("continue")
    if not token:
        # With a limit and no resourceVersionMatch, the revision is meant exactly.
        exact = match == "Exact" or (not match and requested and _limit(request))
        return _ListPosition(requested if exact and requested else store.revision)
    after, revision = _parse_continue_token(token)
    if requested:
        raise bad_request("specifying resource version is not allowed when using continue")
    if revision == _INCONSISTENT:
        return _ListPosition(store.revision, after)
    check_not_future(store, revision)
    return _ListPosition(revision, after)


def _list_stored(
    store: ObjectStore, request: Request, position: _ListPosition
) -> list[StoredObject]:
    """List the objects after the position of a page.

    Raises StatusError 410, with a token that continues from here in the current state.
    """
    namespace = request.namespaced_name[0]
    if position.revision == store.revision:
        return store.list_stored(request.kind, namespace, after=position.after)
    try:
        return store.list_stored_at(
            position.revision, request.kind, namespace, after=position.after
        )
    except ResourceExpired as exc:
        if position.after is None:
            message = f"The resourceVersion for the provided list is too old: {position.revision}"
            raise expired(message) from exc
        raise expired(
            _TOO_OLD, continue_token=_continue_token(position.after, _INCONSISTENT)
        ) from exc


def _limit(request: Request) -> int:
    text = request.option("limit") or "0"
    if (limit := int64.parse(text)) is None:
        raise not_a_number("limit", text)
    return max(limit, 0)


async def _filter(
    entries: Iterable[StoredObject], predicate: Predicate | None, limit: int
) -> tuple[list[StoredObject], bool]:
    """Return the matching objects up to the limit, and whether unchecked objects are left."""
    matching, cooperative = list[StoredObject](), CooperativeYield()
    for entry in entries:
        if limit and len(matching) == limit:
            return matching, True
        if predicate is None:
            matching.append(entry)
            continue
        if predicate(entry.object()):
            matching.append(entry)
        await cooperative.yield_if_due()
    return matching, False


def _continue_token(last: NamespacedName, revision: int) -> str:
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": list(last)})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def _parse_continue_token(token: str) -> tuple[NamespacedName, int]:
    try:
        value = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = value["start"]
        if isinstance(namespace, str) and isinstance(name, str):
            return (namespace, name), _checked_revision(value["rv"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        pass
    raise bad_request("continue key is not valid")


def _checked_revision(value: Any) -> int:
    if type(value) is not int or not (value == _INCONSISTENT or 0 < value < 1 << 63):
        raise TypeError("invalid revision in a continue token")
    return value


def requested_revision(request: Request) -> int | None:
    """Return the resourceVersion of a request; None if it has none. Raises StatusError 400."""
    text = request.option("resourceVersion")
    if not text:
        return None
    version = int64.parse(text)
    if version is None or version < 0:
        raise not_a_number("resourceVersion", text)
    return version


def _check_version_match(request: Request, store: ObjectStore) -> str:
    """Check the combination of resourceVersion, resourceVersionMatch and continue; return the match.

    Raises StatusError 422, 504.
    """
    requested, match, causes = (
        requested_revision(request),
        request.option("resourceVersionMatch"),
        [],
    )
    path = "resourceVersionMatch"
    if match and requested is None:
        causes.append(Cause(CauseType.FORBIDDEN, "is forbidden without resourceVersion", path))
    if match and request.option("continue"):
        causes.append(Cause(CauseType.FORBIDDEN, "is forbidden when continue is given", path))
    if match not in _MATCHES:
        message = f"supported values: {', '.join(_MATCHES[1:])}"
        causes.append(Cause(CauseType.NOT_SUPPORTED, message, path))
    if match == "Exact" and requested == 0:
        causes.append(Cause(CauseType.FORBIDDEN, '"Exact" is forbidden for "0"', path))
    if request.option("sendInitialEvents"):
        causes.append(Cause(CauseType.FORBIDDEN, "is forbidden for list", "sendInitialEvents"))
    if causes:
        raise invalid_options("ListOptions", causes)
    check_not_future(store, requested)
    return match


def check_not_future(store: ObjectStore, revision: int | None) -> None:
    """Refuse a resourceVersion above the store's own, such as from a client of another data directory.

    Raises StatusError 504.
    """
    if revision is not None and revision > store.revision:
        message = f"Too large resource version: {revision}, current: {store.revision}"
        cause = Cause("ResourceVersionTooLarge", "Too large resource version")
        raise StatusError(504, "Timeout", message, causes=[cause], retry_after=1)
