"""The Kubernetes releases that can be served: their kinds and types, from the folders of `releases`.

scripts/make_releases.py writes them from the published OpenAPI. `kinds.json` has the kinds of each group and
version in the order of discovery; only this file is read at the start. `types.json` has the types: `of` has
the fields of a type, where `[X]` is a list, `{X}` a map, and `!` marks a required field; `default`, `enum`,
`list` and others are notes about fields. The file of the newest release has all types. The file of an older
release has the types that differ; null is a type that the release does not have.

All types of a process are in one table. A type of an older release that differs from the newest, or uses
such a type, has the release in its name: `PodSpec@1.35`. `base_name` is the name without it.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from kubeling.errors import Error

_FOLDER = Path(__file__).with_name("releases")
_WORD = re.compile(r"[\w.]+")

TypeNotes = Mapping[str, Any]


class UnknownRelease(Error):
    """No data of this Kubernetes release is installed."""

    code = "unknown_release"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Kubernetes {name!r} is not a release that can be served",
            hint=f"use one of {', '.join(RELEASES)}",
        )


def _order(name: str) -> list[int]:
    return [int(part) for part in name.split(".")]


def is_older(name: str, than: str) -> bool:
    """Return whether a release is older than another, which need not be installed."""
    return _order(name) < _order(than)


_FOUND = [each.name for each in _FOLDER.iterdir() if re.fullmatch(r"\d+\.\d+", each.name)]
# The newest first.
RELEASES = tuple(sorted(_FOUND, key=_order, reverse=True))
NEWEST = RELEASES[0]


@dataclass(frozen=True, slots=True)
class Release:
    """One release: its full version, and the rows of its kinds by group and version (`apps/v1`)."""

    name: str
    version: str
    kinds: Mapping[str, list[dict[str, Any]]]


def find_name(text: str) -> str:
    """Return the name of the release of a version, such as `v1.35.4`. Raises UnknownRelease."""
    found = re.fullmatch(r"v?(\d+\.\d+)(\.\d+)?", text)
    if found is None or found[1] not in RELEASES:
        raise UnknownRelease(text)
    return found[1]


def _read(name: str, file: str) -> dict[str, Any]:
    if name not in RELEASES:
        raise UnknownRelease(name)
    loaded: dict[str, Any] = orjson.loads((_FOLDER / name / file).read_bytes())
    return loaded


@functools.cache
def load(name: str = NEWEST) -> Release:
    """Load the kinds of a release. Raises UnknownRelease."""
    read = _read(name, "kinds.json")
    return Release(name, read["version"], read["kinds"])


@functools.cache
def types(name: str = NEWEST) -> Mapping[str, TypeNotes]:
    """Return the types of a release that have a name of their own; for the newest release, all types."""
    found: dict[str, TypeNotes] = _read(name, "types.json")
    if name == NEWEST:
        return found
    whole = {key: of for key, of in {**types(), **found}.items() if of is not None}
    users: dict[str, set[str]] = {}
    for key, of in whole.items():
        for notation in of["of"].values():
            users.setdefault(_WORD.findall(notation)[0], set()).add(key)
    different, waiting = set[str](), [key for key, of in found.items() if of is not None]
    while waiting:
        if (key := waiting.pop()) not in different:
            different.add(key)
            waiting += users.get(key, ())
    suffix = f"@{name}"

    def renamed(notation: str) -> str:
        word = _WORD.findall(notation)[0]
        return notation.replace(word, word + suffix) if word in different else notation

    return {
        key + suffix: {
            **whole[key],
            "of": {field: renamed(notation) for field, notation in whole[key]["of"].items()},
        }
        for key in different
    }


def type_name(name: str, release: str) -> str:
    """Return the name of a type of a release in the table of all types."""
    if release == NEWEST:
        return name
    own = f"{name}@{release}"
    return own if own in types(release) else name


def base_name(name: str) -> str:
    """Return the name of a type without its release."""
    return name.partition("@")[0]
