"""Find the operation of a request by its method and path. Pure."""

from collections.abc import Mapping, Sequence

from podpass.lab.services.vault import errors, operations, wire
from podpass.lab.services.vault.certificates import routes as certificate_routes
from podpass.lab.services.vault.keys import routes as key_routes
from podpass.lab.services.vault.request import Operation, Paths

PATHS: Paths = {**operations.PATHS, **key_routes.PATHS, **certificate_routes.PATHS}
_UNSUPPORTED = frozenset(
    {
        "storage",
        "deletedstorage",
        "security",
        "backup",
        "restore",
    }
)
_NAME, _VERSION = "*", "+"
_Shape = tuple[str, int]


def _group(paths: Paths) -> dict[_Shape, list[tuple[tuple[str, ...], Mapping[str, Operation]]]]:
    """Group paths by their first segment and length, the most specific ones first."""
    found: dict[_Shape, list[tuple[tuple[str, ...], Mapping[str, Operation]]]] = {}
    for path, methods in sorted(
        paths.items(), key=lambda each: [part in (_NAME, _VERSION) for part in each[0]]
    ):
        found.setdefault((path[0], len(path)), []).append((path, methods))
    return found


_GROUPS = _group(PATHS)
# No version has the form of these segments, so that a request with the wrong method gets 405.
_KEYWORDS = frozenset(part for path in PATHS for part in path[2:3]) - {_NAME, _VERSION}


def route(method: str, segments: Sequence[str]) -> tuple[Operation, str, str]:
    """Return the operation of a request, with the object's name and version if the path has them.

    `segments` are the decoded segments of the path, without empty ones at the end; a version may be empty.
    Raises BadParameter for a name that no object can have, NotSupported, PathNotFound, MethodNotAllowed.
    """
    head = segments[0].lower() if segments else ""
    if head in _UNSUPPORTED:
        raise errors.NotSupported(f"podpass's vaults do not support /{head}.")
    lowered = (head, *segments[1:])
    matching = [
        (path, methods)
        for path, methods in _GROUPS.get((head, len(segments)), ())
        if _matches(path, lowered)
    ]
    # An object may have the name `restore`. Only a POST request is the restore operation, because no object
    # supports POST.
    path, methods = next(
        ((path, methods) for path, methods in matching if method in methods),
        matching[-1] if matching else ((), {}),
    )
    if not path:
        raise errors.PathNotFound("Key Vault has no such path.")
    parts = dict(zip(path, segments, strict=True))
    name = wire.check_name(parts[_NAME]) if _NAME in parts else ""
    if method not in methods:
        raise errors.MethodNotAllowed(
            f"The path does not support {method}.", allowed=sorted(methods)
        )
    version = parts.get(_VERSION, "")
    if version and not wire.is_version(version):
        raise errors.BadParameter("A version must be 32 hexadecimal digits in lower case.")
    return methods[method], name, version


def _matches(path: Sequence[str], segments: Sequence[str]) -> bool:
    return all(
        part == _NAME or (given not in _KEYWORDS if part == _VERSION else part == given)
        for part, given in zip(path, segments, strict=True)
    )
