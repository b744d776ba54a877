"""How Graph's paths are read: segments, and keys in all the ways OData has to write them. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from podpass.directory.graph.refusals import Malformed

VERSIONS = ("v1.0", "beta")
_MAX_SEGMENTS = 10
_KEYED = re.compile(
    r"(?P<name>[A-Za-z.$]+)\((?:(?P<key>[A-Za-z]+)=)?(?P<value>[^()].*|)\)", re.DOTALL
)
# Written short by SDKs.
_NAMESPACE = re.compile(r"\A(?:microsoft\.)?graph\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Which object of a collection: by `id`, or by the alternate key that is named."""

    name: str
    value: str


Step = str | Key


def split(raw_path: bytes) -> tuple[str, tuple[Step, ...]]:
    """Read a path as its version and its steps: names and keys in turn.

    Shapes:  `/v1.0/applications(appId='x')/owners` gives ("applications", Key, "owners"); a key behind
             a slash is a text, and only the table of routes knows that it is one.
    Errors:  Malformed.
    """
    path = raw_path.decode("latin-1").partition("?")[0]
    # Split before decoding, so that an encoded slash stays inside its key.
    try:
        parts = [unquote(part, errors="strict") for part in path.split("/") if part]
    except UnicodeDecodeError as exc:
        raise Malformed("The path is not UTF-8.") from exc
    if not parts or parts[0] not in VERSIONS:
        raise Malformed("A path of Graph begins with /v1.0 or /beta.")
    if len(parts) > _MAX_SEGMENTS:
        raise Malformed(f"The path has more than {_MAX_SEGMENTS} segments.")
    steps: list[Step] = []
    for part in parts[1:]:
        steps += _steps(part)
    return parts[0], tuple(steps)


def _steps(part: str) -> Sequence[Step]:
    found = _KEYED.fullmatch(part)
    if found is None:
        # Actions and casts may be written with their namespace.
        return [_NAMESPACE.sub("", part)]
    return [found["name"], Key(name=found["key"] or "id", value=_literal(found["value"]))]


def _literal(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if "'" in text:
        raise Malformed("A key in the path is not written as OData has it.")
    return text
