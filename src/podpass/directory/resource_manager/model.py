"""Data types of Resource Manager: its subscription, a request as its operation receives it, routes."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from podpass import names
from podpass.directory.access import Caller
from podpass.directory.resource_manager.async_operations import AsyncOperations
from podpass.directory.resource_manager.filters import Filter
from podpass.directory.store.directory import Directory


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionContext:
    """The tenant and the subscription that an instance serves.

    `authority` and `vault_suffix` are for clients that do not use the gateway: the origin of the token
    service, and the suffix of vault hosts with its port. Units: `write_seconds` is how long a write of a
    federated credential locks its identity.
    """

    tenant_id: str
    tenant_name: str
    domain: str
    subscription_id: str
    subscription_name: str
    authority: str = f"https://{names.LOGIN_HOST}"
    vault_suffix: str = names.VAULT_SUFFIX
    write_seconds: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceEndpoints:
    """The URLs of this API and the related services for a client: Azure's own, or loopback addresses.

    `base`, `authority` and `graph` are origins without a trailing slash.
    """

    base: str
    authority: str
    graph: str
    vault_suffix: str
    public: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryParameters:
    """The parsed query of a request.

    `after` is the last entry of the previous page, empty for the first page; `raw` is repeated in the link to
    the next page.
    """

    api_version: str
    filter: Filter = field(default_factory=Filter)
    top: int | None = None
    after: str = ""
    raw: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationContext:
    """One authenticated and authorized request.

    `params` are the names in the path, as the client wrote them; `scope` is the resource ID at which the
    caller needs a role; `body` is empty if the operation reads no body. `backends` are what the services
    of the instance act on, by the name that the service reads.
    """

    directory: Directory
    types: "ResourceTypes"
    services: "Sequence[ResourceProvider]"
    backends: Mapping[str, Any]
    operations: AsyncOperations
    subscription: SubscriptionContext
    endpoints: ServiceEndpoints
    caller: Caller
    path: str
    scope: str
    params: Mapping[str, str]
    query: QueryParameters
    body: Mapping[str, Any]
    if_match: str | None
    if_none_match: str | None
    now: float

    @property
    def subscription_id(self) -> str:
        return self.subscription.subscription_id

    @property
    def group(self) -> str:
        return self.params.get("group", "")

    @property
    def name(self) -> str:
        return self.params.get("name", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerResponse:
    """A response; without a `body` it has no content."""

    status: int = 200
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


OperationHandler = Callable[[OperationContext], Awaitable[ManagerResponse]]
FindResource = Callable[[OperationContext, str, str], Awaitable[str | None]]
"""Return the stored ID of a resource, from its group and name, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOperation:
    """One operation: its title, the action that a caller needs at the scope, and its function.

    With `action` None, every authenticated caller may run it. An operation with `filtered` lists only what
    the caller may read, and needs no role at the scope itself. An operation with `open_at_root` needs no role
    at the scope `/`.
    """

    title: str
    action: str | None
    run: OperationHandler
    reads_body: bool = False
    filtered: bool = False
    open_at_root: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Method and path of an operation; a leading `{scope}` matches any resource ID, or none."""

    method: str
    path: str
    operation: ManagerOperation


def build_route(
    method: str, path: str, title: str, action: str | None, run: OperationHandler, **how: bool
) -> Route:
    """Return a route; `how` has the other members of its operation."""
    operation = ManagerOperation(title=title, action=action, run=run, **how)
    return Route(method=method, path=path, operation=operation)


def crud_routes(
    path: str,
    resource_type: str,
    noun: str,
    *,
    get: OperationHandler,
    put: OperationHandler,
    delete: OperationHandler,
    patch: OperationHandler | None = None,
    open_at_root: bool = False,
) -> tuple[Route, ...]:
    """Return the routes that read, write and delete one resource of a type.

    `open_at_root` applies to the route that reads.
    """
    read, write = f"{resource_type}/read", f"{resource_type}/write"
    delete_action = f"{resource_type}/delete"
    operations = {
        "GET": ManagerOperation(
            title=f"show {noun}", action=read, run=get, open_at_root=open_at_root
        ),
        "PUT": ManagerOperation(title=f"write {noun}", action=write, run=put, reads_body=True),
        "DELETE": ManagerOperation(title=f"delete {noun}", action=delete_action, run=delete),
    }
    if patch is not None:
        operations["PATCH"] = ManagerOperation(
            title=f"update {noun}", action=write, run=patch, reads_body=True
        )
    return tuple(
        Route(method=method, path=path, operation=one) for method, one in operations.items()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The properties that every resource has; `document` may have the identities that are assigned to it."""

    type: str
    id: str
    name: str
    location: str
    tags: Mapping[str, str]
    document: Mapping[str, Any] = field(default_factory=dict)


PageResources = Callable[
    [OperationContext, str | None, str | None, int], Awaitable[Sequence[Resource]]
]
"""Return resources of a group, or of all groups, after the id of a resource, up to a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceType:
    """A type of resources: whether it has a location, and the api-versions that clients use.

    Roles can be assigned at a resource of a type with `find`. A type with `page` has a table of its own, from
    which the list of all resources is read.
    """

    name: str
    versions: tuple[str, ...]
    has_location: bool = True
    find: FindResource | None = None
    page: PageResources | None = None


DeletingGroup = Callable[[OperationContext, str], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceProvider:
    """The part of Resource Manager that one service adds; a group is deleted inside `deleting_group`."""

    types: tuple[ResourceType, ...]
    routes: tuple[Route, ...]
    deleting_group: DeletingGroup | None = None


class ResourceTypes:
    """The types of all providers, by name without case and by namespace."""

    def __init__(self, types: Iterable[ResourceType]) -> None:
        self._by_name = {each.name.lower(): each for each in types}
        self.by_namespace: dict[str, list[ResourceType]] = {}
        for each in self._by_name.values():
            self.by_namespace.setdefault(each.name.partition("/")[0], []).append(each)

    @property
    def with_tables(self) -> Sequence[ResourceType]:
        """Return the types whose resources have a table of their own, in the order of the list."""
        return [each for each in self._by_name.values() if each.page is not None]

    def finder(self, name: str) -> FindResource | None:
        """Return the function that finds a resource of a type; None if no role can be assigned at one."""
        found = self._by_name.get(name.lower())
        return None if found is None else found.find
