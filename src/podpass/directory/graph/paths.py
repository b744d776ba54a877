"""Parse the paths of Graph: segments, and keys in every notation of OData. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from podpass.directory.graph.errors import MalformedRequest
from podpass.http.request_path import InvalidPath, split_path

VERSIONS = ("v1.0", "beta")
USERINFO = ("oidc", "userinfo")
_MAX_SEGMENTS = 10
_KEYED = re.compile(
    r"(?P<name>[A-Za-z.$]+)\((?:(?P<key>[A-Za-z]+)=)?(?P<value>[^()].*|)\)", re.DOTALL
)
# SDKs may omit `microsoft.`.
_NAMESPACE = re.compile(r"\A(?:microsoft\.)?graph\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectKey:
    """The key of an object in a collection: its `id`, or a named alternate key."""

    name: str
    value: str


PathStep = str | ObjectKey


def parse_path(raw_path: bytes) -> tuple[str, tuple[PathStep, ...]]:
    """Parse a path into its version and its steps: names and keys. The OIDC endpoint has no version.

    `/v1.0/applications(appId='x')/owners` gives ("applications", ObjectKey, "owners"). A key after a slash is
    returned as text; the route table decides that it is a key. Raises MalformedRequest.
    """
    try:
        parts = [part for part in split_path(raw_path, limit=_MAX_SEGMENTS) if part]
    except InvalidPath as exc:
        raise MalformedRequest(exc.message) from exc
    if tuple(part.lower() for part in parts) == USERINFO:
        return "", USERINFO
    if not parts or parts[0] not in VERSIONS:
        raise MalformedRequest("A path of Graph must begin with /v1.0 or /beta.")
    steps: list[PathStep] = []
    for part in parts[1:]:
        steps += _parse_steps(part)
    return parts[0], tuple(steps)


def _parse_steps(part: str) -> Sequence[PathStep]:
    found = _KEYED.fullmatch(part)
    if found is None:
        # Actions and casts may have a namespace prefix.
        return [_NAMESPACE.sub("", part)]
    return [
        found["name"],
        ObjectKey(name=found["key"] or "id", value=_parse_literal(found["value"])),
    ]


def _parse_literal(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if "'" in text:
        raise MalformedRequest("A key in the path is not valid OData.")
    return text
