"""Python: metadata of installed packages, requirements and lock files. Pure."""

import re
from collections.abc import Iterator

import orjson

from podpass.migration.scan.decision import PYTHON, is_known
from podpass.migration.scan.model import Mention, Precision

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_OPERATOR = re.compile(r"(===?|~=|>=|>)\s{0,8}([\w.+!-]{1,64})")
_FIELD = re.compile(r'\s{0,8}(name|version)\s{0,8}=\s{0,8}["\']([^"\']{1,100})["\']')


def normalize(name: str) -> str:
    """Return the normalized name of a package: lower case, hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _mention(name: str, version: str, precision: Precision = Precision.EXACT) -> Iterator[Mention]:
    if is_known(PYTHON, normalize(name)):
        yield Mention(PYTHON, normalize(name), version, precision if version else Precision.UNKNOWN)


def read_metadata(data: bytes) -> Iterator[Mention]:
    """Read METADATA or PKG-INFO: the fields before the first empty line."""
    head = data.decode("utf-8", "replace").replace("\r\n", "\n").partition("\n\n")[0]
    fields: dict[str, str] = {}
    for line in head.split("\n"):
        key, colon, value = line.partition(":")
        if colon and key in ("Name", "Version"):
            fields.setdefault(key, value.strip())
    yield from _mention(fields.get("Name", ""), fields.get("Version", "")[:64])


def read_requirements(data: bytes) -> Iterator[Mention]:
    """Read requirements.txt: `name[extra]==1.2` or a range."""
    for line in data.decode("utf-8", "replace").splitlines():
        text = line.strip()
        found = _NAME.match(text)
        if found is None or not is_known(PYTHON, normalize(found[0])):
            continue
        rest = text[found.end() :].partition("#")[0].partition(";")[0].strip()
        if rest.startswith("["):
            rest = rest.partition("]")[2].strip()
        if rest[:1] not in ("", "=", "~", ">", "<", "!", "("):
            continue  # the beginning of another name, or a URL
        operator = _OPERATOR.search(rest[:1000])
        if operator is None:
            yield from _mention(found[0], "")
        elif operator[1] in ("==", "==="):
            yield from _mention(found[0], operator[2])
        else:
            yield from _mention(found[0], operator[2], Precision.AT_LEAST)


def read_pipfile_lock(data: bytes) -> Iterator[Mention]:
    """Read Pipfile.lock."""
    lock = orjson.loads(data)
    for section in ("default", "develop"):
        packages = lock.get(section) if isinstance(lock, dict) else None
        for name, facts in (packages if isinstance(packages, dict) else {}).items():
            version = facts.get("version") if isinstance(facts, dict) else ""
            yield from _mention(name, str(version or "").lstrip("=")[:64])


def read_toml_lock(data: bytes) -> Iterator[Mention]:
    """Read poetry.lock, uv.lock, pdm.lock or pylock.toml: name and version of each package table."""
    fields: dict[str, str] = {}
    in_package = False
    for line in [*data.decode("utf-8", "replace").splitlines(), "[end]"]:
        if line.startswith("["):
            if in_package:
                yield from _mention(fields.get("name", ""), fields.get("version", ""))
            fields, in_package = {}, line.strip() in ("[[package]]", "[[packages]]")
        elif in_package and (found := _FIELD.match(line)):
            fields.setdefault(found[1], found[2])
