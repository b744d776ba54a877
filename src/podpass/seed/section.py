"""A section of a seed file that a service adds: its entries, and how they are checked and stored."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import yaml

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
    """The directory that a seed is applied to, and the resource group and location of its resources."""

    directory: Directory
    group_id: str
    location: str


E = TypeVar("E", bound=SeedEntry)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSection(Generic[E]):
    """One section: its key in the file, and the noun of an entry in messages.

    `parse` reports each problem with its line; `resource_id` is the scope of the roles of an entry;
    `find_fault` returns why an entry cannot be stored, or an empty text, before anything is written; `put`
    stores an entry; `unique` returns what no two entries share.
    """

    key: str
    noun: str
    parse: Callable[[Reader, yaml.Node], E]
    resource_id: Callable[[SeedPlace, E], str]
    find_fault: Callable[[SeedPlace, E], Awaitable[str]]
    put: Callable[[SeedPlace, E], Awaitable[list[Applied]]]
    unique: Callable[[E], str] = lambda entry: entry.name
