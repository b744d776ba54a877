"""Split the paths of Resource Manager and match them case-insensitively against the routes. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from podpass.directory.resource_manager import errors
from podpass.directory.resource_manager.model import ManagerOperation, Route
from podpass.http import request_path

MAX_SEGMENTS = 40
_SCOPE = "{scope}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """The operation of a request, the names in its path, and the scope at which the caller needs a role."""

    operation: ManagerOperation
    params: Mapping[str, str]
    scope: str


def split_path(raw_path: bytes) -> list[str]:
    """Split a path into names; refuse a name whose characters could form another path.

    Empty segments are removed, because clients join a scope with a leading slash to another slash.

    Raises ManagerError.
    """
    try:
        parts = [part for part in request_path.split_path(raw_path, limit=MAX_SEGMENTS) if part]
    except request_path.InvalidPath as exc:
        raise errors.bad_request("InvalidResourceName", exc.message) from exc
    for part in parts:
        # Such a name could be read as another path, or forge a log line.
        if "/" in part or part in (".", "..") or not part.isprintable():
            raise errors.bad_request(
                "InvalidResourceName", "A name in the path contains an invalid character."
            )
    return parts


class RouteTable:
    """The routes by method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._plain: dict[int, list[tuple[Route, list[str]]]] = {}
        self._scoped: list[tuple[Route, list[str]]] = []
        for route in routes:
            pattern = [part for part in route.path.split("/") if part]
            if pattern[0] == _SCOPE:
                self._scoped.append((route, pattern[1:]))
            else:
                self._plain.setdefault(len(pattern), []).append((route, pattern))

    def find(self, method: str, segments: Sequence[str]) -> RouteMatch:
        """Return the operation of a request. Raises ManagerError for a path or method that is not served."""
        matched = False
        for route, params, scope in self._matching_routes(segments):
            matched = True
            if route.method == method:
                return RouteMatch(operation=route.operation, params=params, scope=scope)
        path = "/" + "/".join(segments)
        if matched:
            text = f"{method} is not served at {path}."
            raise errors.ManagerError(405, "MethodNotAllowed", text)
        raise errors.not_served(method, path)

    def _matching_routes(
        self, segments: Sequence[str]
    ) -> Iterable[tuple[Route, Mapping[str, str], str]]:
        for route, pattern in self._plain.get(len(segments), ()):
            params = _match(pattern, segments)
            if params is not None:
                yield route, params, _scope_of(pattern, segments)
        for route, pattern in self._scoped:
            cut = len(segments) - len(pattern)
            params = _match(pattern, segments[cut:]) if cut >= 0 else None
            if params is not None:
                scope = "/" + "/".join(segments[:cut])
                yield route, {**params, "scope": scope}, scope


def _match(pattern: Sequence[str], segments: Sequence[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for expected, given in zip(pattern, segments, strict=True):
        if expected.startswith("{"):
            params[expected[1:-1]] = given
        elif expected.lower() != given.lower():
            return None
    return params


def _scope_of(pattern: Sequence[str], segments: Sequence[str]) -> str:
    """Return the path up to its last name: lists and actions need a role at their parent resource."""
    names = [index for index, part in enumerate(pattern) if part.startswith("{")]
    return "/" + "/".join(segments[: names[-1] + 1] if names else [])
