"""A section of a seed file that a service adds: its entries, and how they are checked and stored."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import yaml

from podpass.clock import Clock
from podpass.directory.store.directory import Directory
from podpass.seed.access import SeedAccess
from podpass.seed.results import Applied
from podpass.seed.yaml_reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedEntry:
    """A resource of a section, with its role assignments."""

    line: int
    name: str
    access: tuple[SeedAccess, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedPlace:
    """What a seed is applied to, and the resource group and location of its resources.

    `data` is what the services store besides the directory, by their names.
    """

    directory: Directory
    tenant_id: str
    group_id: str
    location: str
    clock: Clock
    data: Mapping[str, Any]


E = TypeVar("E", bound=SeedEntry)


def fixed(resource_id: Callable[[SeedPlace, E], str]) -> Callable[[SeedPlace, E], Awaitable[str]]:
    """Return the scope of an entry whose resource id depends only on the entry and its place."""

    async def find(place: SeedPlace, entry: E) -> str:
        return resource_id(place, entry)

    return find


async def _find_nothing(_place: SeedPlace, _entry: SeedEntry) -> str:
    return ""


async def _store_nothing(_place: SeedPlace, _entry: SeedEntry) -> list[Applied]:
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSection(Generic[E]):
    """One section: its key in the file, and the noun of an entry in messages.

    `parse` reports each problem with its line; `find_scope` returns the scope of the roles of an entry that
    is stored; `find_fault` returns why an entry cannot be stored, or an empty text, before anything is
    written; `put` stores an entry, by default nothing; `unique` returns what no two entries share.
    """

    key: str
    noun: str
    parse: Callable[[Reader, yaml.Node], E]
    find_scope: Callable[[SeedPlace, E], Awaitable[str]] = _find_nothing
    find_fault: Callable[[SeedPlace, E], Awaitable[str]] = _find_nothing
    put: Callable[[SeedPlace, E], Awaitable[list[Applied]]] = _store_nothing
    unique: Callable[[E], str] = lambda entry: entry.name
