"""Get and list: selectors, pages, and what a resourceVersion asks for."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.kubernetes import int64
from podpass.kubernetes.apiserver import selectors
from podpass.kubernetes.apiserver.read.object_response import Page
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.selectors import Predicate
from podpass.kubernetes.apiserver.status import (
    Cause,
    StatusError,
    Why,
    bad_request,
    expired,
    invalid_options,
    not_a_number,
    not_found,
)
from podpass.kubernetes.apiserver.storage.fairness import Pace
from podpass.kubernetes.apiserver.storage.storage import Entry, Object, Place, Store
from podpass.kubernetes.apiserver.storage.watch_cache import Expired

_MATCHES = ("", "Exact", "NotOlderThan")
_INCONSISTENT = -1
_TOO_OLD = (
    "the continue parameter is too old for a list in one state: begin anew without it, or go on with the "
    "continue token of this answer; what was made, changed or deleted since the first page may then be "
    "seen or missed"
)


def read(store: Store, request: Request) -> Object:
    """Give the object a request names.

    Errors:  StatusError 404, 504.
    """
    not_ahead(store, revision_of(request))
    obj = store.get(request.kind, *request.place)
    if obj is None:
        raise not_found(request.kind, request.target.name)
    return obj


def chosen(request: Request) -> Predicate | None:
    """Read a request's selectors as one test; None where it has none.

    Errors:  StatusError 400.
    """
    tests = []
    if text := request.option("labelSelector"):
        tests.append(selectors.labels(text))
    if text := request.option("fieldSelector"):
        tests.append(selectors.fields(request.kind, text))
    if not tests:
        return None
    return lambda obj: all(test(obj) for test in tests)


async def page(store: Store, request: Request) -> Page:
    """Give one page of a list; every page of a list is of the revision of its first.

    Errors:  StatusError 400, 410, 422, 504.
    """
    wanted, where = chosen(request), _where(store, request)
    found = _found(store, request, where)
    # Of revision 0 anything will do, and the whole of it is sent whatever the limit, as by the real API.
    limit = 0 if request.option("resourceVersion") == "0" else _limit(request)
    kept, more = await _take(found, wanted, limit)
    metadata: dict[str, Any] = {"resourceVersion": str(where.revision)}
    if more:
        metadata["continue"] = _continue((kept[-1].namespace, kept[-1].name), where.revision)
        if wanted is None:
            metadata["remainingItemCount"] = len(found) - len(kept)
    return Page([entry.raw for entry in kept], metadata)


@dataclass(frozen=True, slots=True)
class _Where:
    """What a list is of: the state at a revision, behind a place."""

    revision: int
    after: Place | None = None


def _where(store: Store, request: Request) -> _Where:
    """Read what a list is of from its continue token or its resourceVersion."""
    wanted, match = revision_of(request), _match(request, store)
    token = request.option("continue")
    if not token:
        # With a limit and nothing said about it, the revision has always been meant exactly.
        exact = match == "Exact" or (not match and wanted and _limit(request))
        return _Where(wanted if exact and wanted else store.revision)
    after, revision = _read_continue(token)
    if wanted:
        raise bad_request("specifying resource version is not allowed when using continue")
    if revision == _INCONSISTENT:
        return _Where(store.revision, after)
    not_ahead(store, revision)
    return _Where(revision, after)


def _found(store: Store, request: Request, where: _Where) -> list[Entry]:
    """List what a page is cut from.

    Errors:  StatusError 410, with a token that goes on from here in the state of now.
    """
    namespace = request.place[0]
    if where.revision == store.revision:
        return store.entries(request.kind, namespace, after=where.after)
    try:
        return store.entries_at(where.revision, request.kind, namespace, after=where.after)
    except Expired as exc:
        if where.after is None:
            told = f"The resourceVersion for the provided list is too old: {where.revision}"
            raise expired(told) from exc
        raise expired(_TOO_OLD, go_on=_continue(where.after, _INCONSISTENT)) from exc


def _limit(request: Request) -> int:
    text = request.option("limit") or "0"
    if (limit := int64.read(text)) is None:
        raise not_a_number("limit", text)
    return max(limit, 0)


async def _take(
    entries: Iterable[Entry], wanted: Predicate | None, limit: int
) -> tuple[list[Entry], bool]:
    """Keep what is wanted up to the limit, and tell whether entries are left to look at."""
    kept, pace = list[Entry](), Pace()
    for entry in entries:
        if limit and len(kept) == limit:
            return kept, True
        if wanted is None:
            kept.append(entry)
            continue
        if wanted(entry.object()):
            kept.append(entry)
        await pace.step()
    return kept, False


def _continue(last: Place, revision: int) -> str:
    token = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": list(last)})
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def _read_continue(token: str) -> tuple[Place, int]:
    try:
        value = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = value["start"]
        if isinstance(namespace, str) and isinstance(name, str):
            return (namespace, name), _revision(value["rv"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        pass
    raise bad_request("continue key is not valid")


def _revision(value: Any) -> int:
    if type(value) is not int or not (value == _INCONSISTENT or 0 < value < 1 << 63):
        raise TypeError("a continue token was made up")
    return value


def revision_of(request: Request) -> int | None:
    """Read the resourceVersion a request gives; None where it gives none.

    Errors:  StatusError 400.
    """
    text = request.option("resourceVersion")
    if not text:
        return None
    version = int64.read(text)
    if version is None or version < 0:
        raise not_a_number("resourceVersion", text)
    return version


def _match(request: Request, store: Store) -> str:
    """Check how resourceVersion, resourceVersionMatch and continue go together, and give the match.

    Errors:  StatusError 422, 504.
    """
    wanted, match, causes = revision_of(request), request.option("resourceVersionMatch"), []
    path = "resourceVersionMatch"
    if match and wanted is None:
        causes.append(Cause(Why.FORBIDDEN, "is forbidden without resourceVersion", path))
    if match and request.option("continue"):
        causes.append(Cause(Why.FORBIDDEN, "is forbidden when continue is given", path))
    if match not in _MATCHES:
        told = f"supported values: {', '.join(_MATCHES[1:])}"
        causes.append(Cause(Why.NOT_SUPPORTED, told, path))
    if match == "Exact" and wanted == 0:
        causes.append(Cause(Why.FORBIDDEN, '"Exact" is forbidden for "0"', path))
    if request.option("sendInitialEvents"):
        causes.append(Cause(Why.FORBIDDEN, "is forbidden for list", "sendInitialEvents"))
    if causes:
        raise invalid_options("ListOptions", causes)
    not_ahead(store, wanted)
    return match


def not_ahead(store: Store, revision: int | None) -> None:
    """Refuse a resourceVersion this store has not come to, as of a client of an earlier data dir.

    Errors:  StatusError 504.
    """
    if revision is not None and revision > store.revision:
        message = f"Too large resource version: {revision}, current: {store.revision}"
        cause = Cause("ResourceVersionTooLarge", "Too large resource version")
        raise StatusError(504, "Timeout", message, causes=[cause], retry_after=1)
