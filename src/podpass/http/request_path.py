"""Split the path of a request into decoded segments. Pure."""

from urllib.parse import unquote

from podpass.errors import Error
from podpass.http.connection import Scope


class InvalidPath(Error):
    """The path of a request cannot be read."""

    code = "invalid_path"
    status = 400


def raw_path(scope: Scope) -> bytes:
    """Return the path as it was sent, without the query."""
    return bytes(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]


def split_path(raw: bytes, *, limit: int) -> list[str]:
    """Split a path before decoding it, so that an encoded slash stays inside its segment.

    Empty segments are included, but do not count for `limit`. Raises InvalidPath.
    """
    try:
        segments = [unquote(part, errors="strict") for part in raw.decode("ascii").split("/")[1:]]
    except UnicodeDecodeError as exc:
        raise InvalidPath("The path is not valid UTF-8.") from exc
    if sum(map(bool, segments)) > limit:
        raise InvalidPath(f"The path has more than {limit} segments.")
    return segments
