"""Data types of Graph: a request as its operation receives it, the operation, and its response."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from podpass.directory.access import Caller
from podpass.directory.graph.paths import ObjectKey
from podpass.directory.graph.permissions import AccessLevel, RequiredPermissions
from podpass.directory.graph.wire import QueryOptions
from podpass.directory.store.directory import Directory

JsonObject = dict[str, Any]
GraphResponse = tuple[int, JsonObject | int | None]
"""Status and body; a number is sent as plain text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphContext:
    """The tenant that an instance of Graph serves, and the function that hashes passwords of users.

    `administrators` are the object IDs of its Global Administrators.
    """

    tenant_id: str
    domain: str
    hash_password: Callable[[str], str]
    administrators: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphRequest:
    """One authenticated and authorized request.

    `base` ends with the version and is the prefix of every URL in a response; `address` is the URL of the
    request without its query; `keys` are those of the path, in order; `eventual` and `create_if_missing` come
    from headers.
    """

    directory: Directory
    context: GraphContext
    caller: Caller
    access: AccessLevel
    base: str
    address: str
    keys: tuple[ObjectKey, ...]
    options: QueryOptions
    body: Mapping[str, Any]
    now: float
    eventual: bool = False
    create_if_missing: bool = False

    @property
    def beta(self) -> bool:
        return self.base.endswith("/beta")


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOperation:
    """One operation: its title, the permissions it needs, and its function.

    `body` is True if the request has a body, which must be a JSON object.
    """

    title: str
    needs: RequiredPermissions
    run: Callable[[GraphRequest], Awaitable[GraphResponse]]
    body: bool = False
