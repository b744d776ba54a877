"""Node: installed packages, package.json and the lock files of npm, yarn and pnpm. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from podpass.migration.scan.decision import NODE, is_known, known_libraries
from podpass.migration.scan.model import Mention, Precision

_NUMBER = re.compile(r"(\d{1,9}(?:\.\d{1,9}){0,2})([\w.+-]{0,64})")
_EXACT = re.compile(r"[v=]{0,2}\d{1,9}\.\d{1,9}\.\d{1,9}[\w.+-]{0,64}")
_PNPM = re.compile(
    r"\s{0,8}['\"]?/?("
    + "|".join(map(re.escape, sorted(known_libraries(NODE))))
    + r")[@/](\d[\w.+-]{0,64})"
)
_YARN_VERSION = re.compile(r'\s{1,8}"?version"?:?\s{1,8}"?([\w.+-]{1,64})"?')
_MANIFEST_PARTS = ("dependencies", "optionalDependencies", "peerDependencies")
_MAX_NESTED = 64


def installed_package(path: str) -> str:
    """Return the name of the package whose package.json is at a path below node_modules, if it is known."""
    _, folder, rest = path.rpartition("node_modules/")
    name = rest.removesuffix("/package.json")
    return name if folder and is_known(NODE, name) else ""


def read_installed(data: bytes) -> Iterator[Mention]:
    """Read the package.json of an installed package."""
    found = _object(orjson.loads(data))
    yield from _mention(str(found.get("name")), found.get("version"))


def read_manifest(data: bytes) -> Iterator[Mention]:
    """Read the package.json of a program: ranges of its dependencies."""
    manifest = _object(orjson.loads(data))
    for part in _MANIFEST_PARTS:
        for name, wanted in _object(manifest.get(part)).items():
            if is_known(NODE, name):
                yield _parse_range(name, str(wanted))


def read_package_lock(data: bytes) -> Iterator[Mention]:
    """Read package-lock.json, of versions 1 to 3."""
    lock = _object(orjson.loads(data))
    packages = _object(lock.get("packages"))
    for path, facts in packages.items():
        yield from _mention(path.rpartition("node_modules/")[2], _object(facts).get("version"))
    if packages:
        return
    pending = [(_object(lock.get("dependencies")), 0)]
    while pending:
        dependencies, depth = pending.pop()
        for name, facts in dependencies.items():
            yield from _mention(name, _object(facts).get("version"))
            if depth < _MAX_NESTED and (nested := _object(_object(facts).get("dependencies"))):
                pending.append((nested, depth + 1))


def read_yarn_lock(data: bytes) -> Iterator[Mention]:
    """Read yarn.lock: a line with the requests, then an indented line with the version."""
    name = ""
    for line in data.decode("utf-8", "replace").splitlines():
        if line[:1] not in ("", " ", "#"):
            first = line.strip().strip('":').partition(",")[0].strip('"')
            name = first[: first.find("@", 1)] if "@" in first[1:] else ""
        elif name and (found := _YARN_VERSION.fullmatch(line.rstrip())):
            yield from _mention(name, found[1])
            name = ""


def read_pnpm_lock(data: bytes) -> Iterator[Mention]:
    """Read pnpm-lock.yaml: keys such as `/@azure/identity@3.1.0` or `'@azure/identity@3.1.0'`."""
    seen = set()
    for line in data.decode("utf-8", "replace").splitlines():
        found = _PNPM.match(line)
        if found is not None and found.groups() not in seen:
            seen.add(found.groups())
            yield from _mention(found[1], found[2])


def _mention(name: str, version: object) -> Iterator[Mention]:
    if is_known(NODE, name):
        text = version if isinstance(version, str) else ""
        yield Mention(NODE, name, text[:64], Precision.EXACT if text else Precision.UNKNOWN)


def _parse_range(name: str, wanted: str) -> Mention:
    wanted = wanted.strip()
    if _EXACT.fullmatch(wanted):
        return Mention(NODE, name, wanted.lstrip("v="))
    number = _NUMBER.search(wanted[:200])
    if number is None or wanted[:1] not in "^~>=v0123456789":
        return Mention(NODE, name, "", Precision.UNKNOWN)
    return Mention(NODE, name, number[1], Precision.AT_LEAST)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
