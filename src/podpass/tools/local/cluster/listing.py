"""Get and list: selectors, pages, and what a resourceVersion asks for."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import orjson

from podpass.tools.local import integer
from podpass.tools.local.cluster import selectors
from podpass.tools.local.cluster.kinds import Kind
from podpass.tools.local.cluster.render import Page
from podpass.tools.local.cluster.request import Request
from podpass.tools.local.cluster.selectors import Predicate
from podpass.tools.local.cluster.status import (
    Cause,
    StatusError,
    Why,
    bad_request,
    expired,
    invalid_options,
    not_a_number,
    not_found,
)
from podpass.tools.local.cluster.store import Entry, Object, Store

_MATCHES = ("", "Exact", "NotOlderThan")


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


def page(store: Store, request: Request) -> Page:
    """Give one page of a list.

    Errors:  StatusError 400, 410, 422, 504.
    """
    limit = _limit(request)
    wanted, after, revision = chosen(request), None, store.revision
    if token := request.option("continue"):
        after, revision = _read_continue(token)
        not_ahead(store, revision)
        if revision < store.history.horizon:
            raise expired("The provided continue parameter is too old to display a list result")
    else:
        revision = _as_of(store, request, revision)
    found = _after(store.entries(request.kind, request.place[0]), after)
    kept, more = _take(found, wanted, limit)
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if more:
        metadata["continue"] = _continue(kept[-1], revision)
        if wanted is None:
            metadata["remainingItemCount"] = len(found) - len(kept)
    return Page([entry.raw for entry in kept], metadata)


def _limit(request: Request) -> int:
    text = request.option("limit") or "0"
    if (limit := integer.read(text)) is None:
        raise not_a_number("limit", text)
    return max(limit, 0)


def _after(entries: list[Entry], after: tuple[str, str] | None) -> list[Entry]:
    if after is None:
        return entries
    return [entry for entry in entries if (entry.namespace, entry.name) > after]


def _take(
    entries: Iterable[Entry], wanted: Predicate | None, limit: int
) -> tuple[list[Entry], bool]:
    """Keep what is wanted up to the limit, and tell whether entries are left to look at."""
    kept: list[Entry] = []
    for entry in entries:
        if limit and len(kept) == limit:
            return kept, True
        if wanted is None or wanted(entry.object()):
            kept.append(entry)
    return kept, False


def _continue(last: Entry, revision: int) -> str:
    place = orjson.dumps(
        {"v": "meta.k8s.io/v1", "rv": revision, "start": [last.namespace, last.name]}
    )
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def _read_continue(token: str) -> tuple[tuple[str, str], int]:
    try:
        value = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = value["start"]
        if isinstance(namespace, str) and isinstance(name, str):
            return (namespace, name), _revision(value["rv"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        pass
    raise bad_request("continue key is not valid")


def _revision(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError("a continue token was made up")
    return value


def revision_of(request: Request) -> int | None:
    """Read the resourceVersion a request gives; None where it gives none.

    Errors:  StatusError 400.
    """
    text = request.option("resourceVersion")
    if not text:
        return None
    version = integer.read(text)
    if version is None or version < 0:
        raise not_a_number("resourceVersion", text)
    return version


def _as_of(store: Store, request: Request, revision: int) -> int:
    """Find the revision a list is of: ours holds one state, so an exact older one only if unchanged."""
    wanted, match = revision_of(request), request.option("resourceVersionMatch")
    if match not in _MATCHES:
        raise _bad_match(f"supported values: {', '.join(_MATCHES[1:])}", Why.NOT_SUPPORTED)
    if match and wanted is None:
        raise _bad_match("resourceVersionMatch is forbidden without resourceVersion", Why.FORBIDDEN)
    if match == "Exact" and wanted == 0:
        raise _bad_match('resourceVersionMatch "Exact" is forbidden for "0"', Why.FORBIDDEN)
    not_ahead(store, wanted)
    if match != "Exact" or wanted is None:
        return revision
    if _changed_since(store, request.kind, wanted):
        raise expired(f"The resourceVersion for the provided list is too old: {wanted}")
    return wanted


def _bad_match(message: str, why: Why) -> StatusError:
    return invalid_options("ListOptions", [Cause(why, message, "resourceVersionMatch")])


def _changed_since(store: Store, kind: Kind, revision: int) -> bool:
    return revision < store.history.horizon or store.changed(kind) > revision


def not_ahead(store: Store, revision: int | None) -> None:
    """Refuse a resourceVersion this store has not come to, as of a client of an earlier data dir.

    Errors:  StatusError 504.
    """
    if revision is not None and revision > store.revision:
        message = f"Too large resource version: {revision}, current: {store.revision}"
        cause = Cause("ResourceVersionTooLarge", "Too large resource version")
        raise StatusError(504, "Timeout", message, causes=[cause], retry_after=1)
