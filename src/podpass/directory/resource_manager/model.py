"""Shapes of Resource Manager: where it stands, what a request asks, what is answered."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from podpass import names
from podpass.directory.access import Caller

if TYPE_CHECKING:
    from podpass.directory.resource_manager.cluster_port import ClusterPort
    from podpass.directory.resource_manager.filters import Filter
    from podpass.directory.resource_manager.operations import Operations
    from podpass.directory.store.directory import Directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The one tenant and the one subscription that are served.

    Shapes:  `authority` and `vault_suffix` are for clients that come without the gateway: the origin of the
             token service and what follows a vault's name, with its port.
    Units:   `write_seconds` is how long a write of a federated credential keeps others from its identity.
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
class Origin:
    """Where the client finds this API and its neighbours: by Azure's names, or on loopback.

    Shapes:  `base`, `authority` and `graph` are origins without a slash at the end.
    """

    base: str
    authority: str
    graph: str
    vault_suffix: str
    public: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What stands behind the question mark.

    Shapes:  `after` is where the page before ended, empty at the first.
    """

    api_version: str
    filter: "Filter"
    top: int | None = None
    after: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One admitted and permitted request.

    Shapes:  `params` are the names in the path, as they were written; `scope` the ARM id that the caller
             needs a role at; `body` an empty object where none is read.
    """

    directory: "Directory"
    cluster: "ClusterPort"
    operations: "Operations"
    place: Place
    origin: Origin
    caller: Caller
    path: str
    scope: str
    params: Mapping[str, str]
    query: Query
    body: Mapping[str, Any]
    if_match: str | None
    if_none_match: str | None
    now: float

    @property
    def subscription(self) -> str:
        return self.place.subscription_id

    @property
    def group(self) -> str:
        return self.params.get("group", "")

    @property
    def name(self) -> str:
        return self.params.get("name", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent back; `body` None sends none."""

    status: int = 200
    body: Any = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation: the action a caller needs at the scope (None: any caller may), and what it does.

    Shapes:  `filtered` lists what the caller may read, and needs no role at the scope itself.
    """

    title: str
    action: str | None
    run: Callable[[Call], Awaitable[Answer]]
    reads_body: bool = False
    filtered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Method and path of an operation; `{scope}` at its beginning stands for any ARM id, or none."""

    method: str
    path: str
    operation: Operation


Run = Callable[[Call], Awaitable[Answer]]


def crud(
    path: str, kind: str, noun: str, *, get: Run, put: Run, delete: Run, patch: Run | None = None
) -> tuple[Route, ...]:
    """Make the routes by which one resource of a type is read, written and deleted."""
    may = {name: f"{kind}/{name}" for name in ("read", "write", "delete")}
    operations = {
        "GET": Operation(title=f"show {noun}", action=may["read"], run=get),
        "PUT": Operation(title=f"write {noun}", action=may["write"], run=put, reads_body=True),
        "DELETE": Operation(title=f"delete {noun}", action=may["delete"], run=delete),
    }
    if patch is not None:
        operations["PATCH"] = Operation(
            title=f"update {noun}", action=may["write"], run=patch, reads_body=True
        )
    return tuple(
        Route(method=method, path=path, operation=one) for method, one in operations.items()
    )
