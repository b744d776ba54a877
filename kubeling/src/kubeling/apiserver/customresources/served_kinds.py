"""The kinds that a cluster serves: the built-in ones, and those of its CustomResourceDefinitions.

The definitions are read from the store again when one of them has changed, as `RbacAuthorizer` reads roles.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from kubeling.apiserver import release, schema
from kubeling.apiserver.customresources.definitions import has_condition
from kubeling.apiserver.customresources.resource import VersionedResource
from kubeling.apiserver.kinds import (
    SCALE,
    Kind,
    Subresource,
    built_in,
    kind_by_name,
    status_subresource,
)
from kubeling.apiserver.patch import list_merge
from kubeling.apiserver.release import NEWEST
from kubeling.apiserver.storage.storage import ObjectStore, StoredObject

DEFINITION = kind_by_name("CustomResourceDefinition")
# In the order in which the discovery of the real API server lists them.
_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_STABILITY = {None: 2, "beta": 1, "alpha": 0}
_HASH_BYTES = 8


class ServedKinds:
    """Finds the kinds of one cluster."""

    def __init__(self, store: ObjectStore, release_name: str = NEWEST) -> None:
        self._store = store
        self.release = release.load(release_name)
        self._built_in = built_in(release_name)
        if release_name != NEWEST:
            schema.add_release(release_name)
            list_merge.add_release(release_name)
        self._seen = -1
        self._compiled: dict[str, tuple[int, tuple[Kind, ...]]] = {}
        self._all: tuple[Kind, ...] = self._built_in
        self._by_path: dict[tuple[str, str, str], Kind] = {}
        self._by_key: dict[str, Kind] = {}
        self._by_type: dict[tuple[str, str], Kind] = {}
        self._group_versions: list[tuple[str, str]] = []
        self._index(())

    def all(self) -> tuple[Kind, ...]:
        """Return all kinds; a kind with several versions is one kind for each version."""
        self._refresh()
        return self._all

    def stored(self) -> list[Kind]:
        """Return one kind for each resource whose objects are stored."""
        self._refresh()
        return [kind for kind in self._by_key.values() if kind.stored]

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """Return the kind of a path; None if the cluster does not serve it."""
        self._refresh()
        return self._by_path.get((group, version, plural))

    def by_key(self, key: str) -> Kind | None:
        """Return a kind by its key; a custom kind in its preferred version."""
        self._refresh()
        return self._by_key.get(key)

    def by_type(self, api_version: str, kind: str) -> Kind | None:
        """Return the kind of an object; None if the cluster does not serve it."""
        self._refresh()
        return self._by_type.get((api_version, kind))

    def group_versions(self) -> list[tuple[str, str]]:
        """List groups and versions in the order of discovery, the core group first."""
        self._refresh()
        return self._group_versions

    def _refresh(self) -> None:
        change = self._store.last_change(DEFINITION)
        if change == self._seen:
            return
        found = self._store.list_stored(DEFINITION)
        self._compiled = {entry.name: self._compile(entry) for entry in found}
        self._index(kind for _, made in self._compiled.values() for kind in made)
        self._seen = change

    def _compile(self, entry: StoredObject) -> tuple[int, tuple[Kind, ...]]:
        before = self._compiled.get(entry.name)
        if before is not None and before[0] == entry.revision:
            return before
        return entry.revision, kinds_of(entry.object())

    def _index(self, custom: Iterable[Kind]) -> None:
        built_in = {(kind.group, kind.version, kind.plural) for kind in self._built_in}
        added = [kind for kind in custom if (kind.group, kind.version, kind.plural) not in built_in]
        added.sort(key=lambda kind: (kind.group, *version_order(kind.version), kind.plural))
        self._all = (*self._built_in, *added)
        self._by_path = {(kind.group, kind.version, kind.plural): kind for kind in self._all}
        self._by_type = {(kind.api_version, kind.kind): kind for kind in self._all}
        self._by_key = {}
        for kind in self._all:
            self._by_key.setdefault(kind.key, kind)
        self._group_versions = list(dict.fromkeys((kind.group, kind.version) for kind in self._all))


def version_order(version: str) -> tuple[int, int, int, str]:
    """Return the sort key of a version: stable, beta, alpha, other; the newest of each first."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (1, 0, 0, version)
    major, stability, minor = int(found[1]), _STABILITY[found[2]], int(found[3] or 0)
    return (-stability, -major, -minor, "")


def kinds_of(definition: Mapping[str, Any]) -> tuple[Kind, ...]:
    """Return the kinds that a definition makes the API server serve, one for each served version."""
    if not has_condition(definition, "Established"):
        return ()
    versions = definition["spec"]["versions"]
    return tuple(_kind(definition, version) for version in versions if version.get("served"))


def _kind(definition: Mapping[str, Any], version: Mapping[str, Any]) -> Kind:
    spec, names = definition["spec"], definition["status"]["acceptedNames"]
    made = VersionedResource(definition, version)
    fields = [each["jsonPath"].removeprefix(".") for each in version.get("selectableFields") or ()]
    return Kind(
        group=spec["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        namespaced=spec["scope"] == "Namespaced",
        verbs=_VERBS,
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=_subresources(names["kind"], version),
        field_selectors=dict.fromkeys(fields, ""),
        has_generation=True,
        storage_hash=_storage_hash(spec, names["kind"]),
        type_name=made.type_name,
        custom=made,
    )


def _subresources(kind: str, version: Mapping[str, Any]) -> tuple[Subresource, ...]:
    given = version.get("subresources") or {}
    status = (status_subresource(kind),) if given.get("status") is not None else ()
    return status + ((SCALE,) if given.get("scale") is not None else ())


def _storage_hash(spec: Mapping[str, Any], kind: str) -> str:
    stored = next(each["name"] for each in spec["versions"] if each["storage"])
    text = f"{spec['group']}/{stored}/{kind}"
    return base64.b64encode(hashlib.sha256(text.encode()).digest()[:_HASH_BYTES]).decode()
