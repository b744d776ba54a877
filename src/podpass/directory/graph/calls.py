"""One request of Graph as its operation sees it: who calls, what is named, what is asked. Shapes only."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from podpass.directory.access import Caller
from podpass.directory.graph.paths import Key
from podpass.directory.graph.permissions import Grant, Needs
from podpass.directory.graph.wire import Options
from podpass.directory.store.directory import Directory

Item = dict[str, Any]
Answer = tuple[int, Item | int | None]
"""Status and body; a number is shown as plain text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose directory this is."""

    tenant_id: str
    domain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One admitted request.

    Shapes:  `base` ends with the version and begins every address in an answer, `address` is the
             request's own without its query; `keys` are those of the path, in order; `eventual` and
             `create_if_missing` come from headers.
    """

    directory: Directory
    place: Place
    caller: Caller
    grant: Grant
    base: str
    address: str
    keys: tuple[Key, ...]
    options: Options
    body: Mapping[str, Any]
    now: float
    eventual: bool = False
    create_if_missing: bool = False

    @property
    def beta(self) -> bool:
        return self.base.endswith("/beta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: what it is called, what it needs, what it does.

    Shapes:  `body` tells whether one is read: True for a JSON object that has to be there.
    """

    title: str
    needs: Needs
    run: Callable[[Call], Awaitable[Answer]]
    body: bool = False
