"""Choose by its path how a file is read, and read it within the limits."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import orjson

from podpass.migration.scan import dotnet_files, go_files, java_files, node_files, python_files
from podpass.migration.scan.limits import (
    MAX_FINDINGS,
    MAX_JAR_BYTES,
    MAX_JSON_BYTES,
    MAX_JSON_VALUES,
    MAX_TEXT_BYTES,
    MIB,
    has_too_many_values,
    read_limited,
)
from podpass.migration.scan.model import ContentStream, LimitExceeded, Mention, ScanFailed

Parse = Callable[[bytes], Iterator[Mention]]

_BY_NAME: dict[str, Parse] = {
    "METADATA": python_files.read_metadata,
    "PKG-INFO": python_files.read_metadata,
    "Pipfile.lock": python_files.read_pipfile_lock,
    "poetry.lock": python_files.read_toml_lock,
    "uv.lock": python_files.read_toml_lock,
    "pdm.lock": python_files.read_toml_lock,
    "pylock.toml": python_files.read_toml_lock,
    "package-lock.json": node_files.read_package_lock,
    ".package-lock.json": node_files.read_package_lock,
    "npm-shrinkwrap.json": node_files.read_package_lock,
    "yarn.lock": node_files.read_yarn_lock,
    "pnpm-lock.yaml": node_files.read_pnpm_lock,
    "go.mod": go_files.read_go_mod,
    "pom.xml": java_files.read_pom,
    "build.gradle": java_files.read_gradle,
    "build.gradle.kts": java_files.read_gradle,
    "gradle.lockfile": java_files.read_gradle,
    "packages.lock.json": dotnet_files.read_packages_lock,
    "packages.config": dotnet_files.read_project,
    "Directory.Packages.props": dotnet_files.read_project,
}
_BY_ENDING: dict[str, Parse] = {
    ".egg-info": python_files.read_metadata,
    ".deps.json": dotnet_files.read_deps_json,
    ".csproj": dotnet_files.read_project,
    ".fsproj": dotnet_files.read_project,
    ".vbproj": dotnet_files.read_project,
}
# Below these folders, other files belong to packages: their tests and examples are not the program's.
_INSTALLED = re.compile(r"(^|/)(site-packages|dist-packages|node_modules)/")
_OF_INSTALLED = {"METADATA", "PKG-INFO", ".package-lock.json"}
_JAR_ENDINGS = (".jar", ".war", ".ear")
_LIBRARY_ENDINGS = (".so", ".a", ".o")
_JSON_ENDINGS = (".json", "Pipfile.lock")


class NotRead(ScanFailed):
    """A file is too large or invalid; the scan continues without it."""

    code = "file_not_read"


@dataclass(frozen=True, slots=True)
class FileReader:
    """How a file is read: by `parse`, as a jar, or, without both, as a Go binary."""

    parse: Parse | None = None
    is_jar: bool = False


def choose_reader(path: str) -> FileReader | None:
    """Return the reader of a file; None if its path cannot name a library."""
    name = path.rpartition("/")[2]
    if name == "package.json":
        return _choose_node_reader(path)
    if _INSTALLED.search(path) and name not in _OF_INSTALLED and not name.endswith(".egg-info"):
        return FileReader() if "." not in name else None
    if parse := _BY_NAME.get(name):
        return FileReader(parse)
    for ending, parse in _BY_ENDING.items():
        if name.endswith(ending):
            return FileReader(parse)
    if name.startswith("requirements") and name.endswith((".txt", ".in")):
        return FileReader(python_files.read_requirements)
    if name == "modules.txt" and path.endswith("vendor/modules.txt"):
        return FileReader(go_files.read_vendor_modules)
    if name == "status" and path.endswith("vcpkg/status"):
        return FileReader(dotnet_files.read_vcpkg_status)
    if name.endswith(_JAR_ENDINGS):
        return FileReader(is_jar=True)
    if name.endswith(_LIBRARY_ENDINGS) or ".so." in name:
        return None
    return FileReader()


def _choose_node_reader(path: str) -> FileReader | None:
    if not _INSTALLED.search(path):
        return FileReader(node_files.read_manifest)
    return FileReader(node_files.read_installed) if node_files.installed_package(path) else None


def read_file(path: str, reader: FileReader, stream: ContentStream) -> list[Mention]:
    """Return the libraries that a file names, each once. Raises NotRead; LimitExceeded."""
    found: dict[Mention, None] = {}
    for mention in _read(path, reader, stream):
        found[mention] = None
        if len(found) > MAX_FINDINGS:
            raise LimitExceeded(f"a file names an identity library more than {MAX_FINDINGS} times")
    return list(found)


def _read(path: str, reader: FileReader, stream: ContentStream) -> Iterator[Mention]:
    if reader.is_jar:
        yield from _read_jar(path, stream)
    elif reader.parse is None:
        start = stream.read(len(go_files.ELF))
        if start == go_files.ELF:
            yield from go_files.read_binary(start, stream)
    else:
        limit = MAX_JSON_BYTES if path.endswith(_JSON_ENDINGS) else MAX_TEXT_BYTES
        data = read_limited(stream, limit)
        if data is None:
            raise NotRead(f"it has more than {limit // MIB} MiB")
        if path.endswith(_JSON_ENDINGS) and has_too_many_values(data):
            raise NotRead(f"it has more than {MAX_JSON_VALUES} values")
        try:
            yield from reader.parse(data)
        except (orjson.JSONDecodeError, RecursionError) as exc:
            raise NotRead("it is not valid JSON") from exc


def _read_jar(path: str, stream: ContentStream) -> Iterator[Mention]:
    yield from java_files.mention_of_jar(path)
    with tempfile.TemporaryFile() as file:
        counted = _LimitedStream(stream)
        shutil.copyfileobj(counted, file, MIB)
        if counted.count > MAX_JAR_BYTES:
            raise NotRead(f"it has more than {MAX_JAR_BYTES // MIB} MiB")
        yield from java_files.read_jar(cast("BinaryIO", file))


class _LimitedStream:
    """A stream that ends after one byte more than the limit of jars."""

    def __init__(self, stream: ContentStream) -> None:
        self._stream, self.count = stream, 0

    def read(self, size: int = -1, /) -> bytes:
        if self.count > MAX_JAR_BYTES:
            return b""
        data = self._stream.read(size)
        self.count += len(data)
        return data
