"""Paths of Resource Manager: cut, compared without case, matched against the table of routes. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from podpass.directory.resource_manager import refusals
from podpass.directory.resource_manager.model import Operation, Route

MAX_SEGMENTS = 40
_SCOPE = "{scope}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The operation of a request, the names in its path, and the scope that a role must cover."""

    operation: Operation
    params: Mapping[str, str]
    scope: str


def split(raw_path: bytes) -> list[str]:
    """Cut a path before decoding it, so that an encoded slash stays inside its name, and is refused.

    Empty parts are left out: clients join a scope that begins with a slash to one more.

    Errors:  ManagerRefusal.
    """
    try:
        text = raw_path.partition(b"?")[0].decode("ascii")
        parts = [unquote(part, errors="strict") for part in text.split("/") if part]
    except (UnicodeDecodeError, ValueError) as exc:
        raise refusals.bad("InvalidResourceName", "The path is not text.") from exc
    if len(parts) > MAX_SEGMENTS:
        raise refusals.bad("InvalidResourceName", f"The path has over {MAX_SEGMENTS} parts.")
    for part in parts:
        # Such a name could stand for another path, or forge a line of the log.
        if "/" in part or part in (".", "..") or not part.isprintable():
            raise refusals.bad("InvalidResourceName", "A name in the path holds a sign it may not.")
    return parts


class Table:
    """Routes by method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._plain: dict[int, list[tuple[Route, list[str]]]] = {}
        self._scoped: list[tuple[Route, list[str]]] = []
        for route in routes:
            pattern = [part for part in route.path.split("/") if part]
            if pattern[0] == _SCOPE:
                self._scoped.append((route, pattern[1:]))
            else:
                self._plain.setdefault(len(pattern), []).append((route, pattern))

    def find(self, method: str, segments: Sequence[str]) -> Found:
        """Find the operation of a request.

        Errors:  ManagerRefusal for a path or method that is not served.
        """
        matched = False
        for route, params, scope in self._fitting(segments):
            matched = True
            if route.method == method:
                return Found(operation=route.operation, params=params, scope=scope)
        path = "/" + "/".join(segments)
        if matched:
            text = f"{method} is not served at {path}."
            raise refusals.ManagerRefusal(405, "MethodNotAllowed", text)
        raise refusals.not_served(method, path)

    def _fitting(self, segments: Sequence[str]) -> Iterable[tuple[Route, Mapping[str, str], str]]:
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
    for wanted, given in zip(pattern, segments, strict=True):
        if wanted.startswith("{"):
            params[wanted[1:-1]] = given
        elif wanted.lower() != given.lower():
            return None
    return params


def _scope_of(pattern: Sequence[str], segments: Sequence[str]) -> str:
    """Cut off what follows the last name: lists and actions need their role at what they belong to."""
    names = [place for place, part in enumerate(pattern) if part.startswith("{")]
    return "/" + "/".join(segments[: names[-1] + 1] if names else [])
