""".NET and C++: deps.json, project files, NuGet's lock file, and the status file of vcpkg. Pure."""

import re
from collections.abc import Iterator

import orjson

from podpass.migration.scan.decision import CPP, DOTNET, SUPPORTED, known_libraries
from podpass.migration.scan.model import Mention, Precision

# Names of NuGet packages are case-insensitive.
_KNOWN = {each.lower(): each for each in known_libraries(DOTNET)}
_REFERENCE = re.compile(
    r"<(?:PackageReference|PackageVersion|package)\s{1,20}(?:Include|id)\s{0,4}=\s{0,4}"
    r"\"([\w.]{1,100})\"([^>]{0,400})>",
    re.IGNORECASE,
)
_VERSION = re.compile(r"version\s{0,4}=\s{0,4}\"([^\"]{1,64})\"", re.IGNORECASE)


def _mention(name: str, version: str) -> Iterator[Mention]:
    library = _KNOWN.get(name.lower())
    if library is None:
        return
    if version[:1] in ("[", "(") or "*" in version:
        lower = version.strip("[]() ").partition(",")[0].replace("*", "0")
        yield Mention(DOTNET, library, lower, Precision.AT_LEAST if lower else Precision.UNKNOWN)
    else:
        yield Mention(DOTNET, library, version, Precision.EXACT if version else Precision.UNKNOWN)


def read_deps_json(data: bytes) -> Iterator[Mention]:
    """Read NAME.deps.json, which is next to a program: keys `Azure.Identity/1.9.0`."""
    deps = orjson.loads(data)
    libraries = deps.get("libraries") if isinstance(deps, dict) else None
    for key in libraries if isinstance(libraries, dict) else ():
        name, slash, version = key.partition("/")
        if slash:
            yield from _mention(name, version[:64])


def read_packages_lock(data: bytes) -> Iterator[Mention]:
    """Read packages.lock.json."""
    lock = orjson.loads(data)
    frameworks = lock.get("dependencies") if isinstance(lock, dict) else None
    for packages in (frameworks if isinstance(frameworks, dict) else {}).values():
        for name, facts in (packages if isinstance(packages, dict) else {}).items():
            version = facts.get("resolved") if isinstance(facts, dict) else ""
            yield from _mention(name, str(version or "")[:64])


def read_project(data: bytes) -> Iterator[Mention]:
    """Read a project file, Directory.Packages.props or packages.config."""
    for name, rest in _REFERENCE.findall(data.decode("utf-8", "replace")):
        found = _VERSION.search(rest)
        yield from _mention(name, found[1] if found else "")


def read_vcpkg_status(data: bytes) -> Iterator[Mention]:
    """Read vcpkg's list of installed packages: paragraphs with Package and Version."""
    library = SUPPORTED[CPP].library
    for paragraph in data.decode("utf-8", "replace").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line)
        if fields.get("Package") == library and fields.get("Version"):
            yield Mention(CPP, library, fields["Version"].partition("#")[0][:64])
