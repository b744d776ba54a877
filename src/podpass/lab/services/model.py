"""What an Azure service is to an instance: one value, which its folder exports."""

import importlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from podpass.clock import Clock
from podpass.directory.store.extension import DirectoryExtension
from podpass.lab.data.datadir import DataDir, InstanceConfig

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from podpass.database import Database, MigrationChain
    from podpass.directory.resource_manager.model import ResourceProvider
    from podpass.directory.store.directory import Directory
    from podpass.http.server import App
    from podpass.lab.names.resolver import AnswerName
    from podpass.resource.guard import KeySource
    from podpass.seed.model import Seed
    from podpass.seed.section import SeedSection
    from podpass.settings.azure import AzureSettings


class InstanceParts(Protocol):
    """What the data plane of a service gets of the instance that starts it."""

    @property
    def config(self) -> InstanceConfig: ...

    @property
    def settings(self) -> "AzureSettings": ...

    @property
    def environ(self) -> Mapping[str, str]: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def stack(self) -> AsyncExitStack: ...

    @property
    def direct_vault(self) -> str: ...

    async def serve(self, service: str, app: "App") -> str:
        """Serve an application on the socket of a service."""
        ...


async def _describe_nothing() -> dict[str, Any]:
    return {}


async def _do_nothing() -> None: ...


async def _remove_nothing(_name: str) -> list[str]:
    return []


TestAction = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedPart:
    """A started data plane. `describe` returns its document of the control API.

    `catch_up` runs the work that is due by the clock of the instance; tests that move the clock await it.
    `remove_demo` removes what `podpass cloud demo` has created under a name, and returns it. `test_actions`
    are what tests may do besides, by the path below `/tests/`.
    """

    describe: Callable[[], Awaitable[dict[str, Any]]] = _describe_nothing
    catch_up: Callable[[], Awaitable[None]] = _do_nothing
    remove_demo: Callable[[str], Awaitable[list[str]]] = _remove_nothing
    test_actions: Mapping[str, TestAction] = field(default_factory=dict)


# The last argument is the opened data of the service.
StartPart = Callable[
    [InstanceParts, "Directory", "KeySource", Any], Awaitable[tuple[StartedPart, str]] | None
]
OpenData = Callable[["Database", DataDir], AbstractAsyncContextManager[Any]]
ListHosts = Callable[["Directory", str, Iterable[str]], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The parts of a service; a part that it lacks is None.

    Each part is a function that imports it when it is needed: an instance that only exchanges tokens starts
    without Resource Manager, and a command that parses a seed loads no part of the data plane.

    Without a service that it `requires`, an instance does not have it either.

    `longest_import` is a module that an instance imports in parallel, because its import takes long.
    `directory` has its roles and its stores; `provider` has its routes and types in Resource Manager; `seed`
    its section of the seed file; `answer_name` answers DNS queries; `warn_at_install` returns warnings for a
    seed that is applied to a cluster, given the value of `podpass cloud install --dns`; `is_webhook_enabled`
    returns whether the stored resources of a subscription let the webhook run at the start.

    `tables` are those of its own migrations, with their chain; `open_data` opens what it stores besides the
    directory. `start` serves the data plane and returns its addresses too, or is None if the settings do not
    ask for it; `has_host` returns whether a host name of the service exists, None for a name of another
    service; `list_hosts` lists its host names in a subscription, for the services of storage that are
    served.
    """

    name: str
    longest_import: str = ""
    requires: tuple[str, ...] = ()
    directory: Callable[[], DirectoryExtension] = DirectoryExtension
    provider: "Callable[[], ResourceProvider]"
    seed: "Callable[[], SeedSection[Any]] | None" = None
    answer_name: "Callable[[], Callable[[Directory], AnswerName]] | None" = None
    warn_at_install: "Callable[[], Callable[[Seed, str], list[str]]] | None" = None
    is_webhook_enabled: "Callable[[], Callable[[Directory, str], Awaitable[bool]]] | None" = None
    tables: "Callable[[], tuple[MetaData, MigrationChain]] | None" = None
    open_data: "Callable[[], OpenData] | None" = None
    start: "StartPart | None" = None
    has_host: "Callable[[], Callable[[Directory, str], Awaitable[bool | None]]] | None" = None
    list_hosts: "Callable[[], ListHosts] | None" = None


def late(reference: str) -> Callable[[], Any]:
    """Return a function that imports a value: `dns.seed:SECTION` is SECTION of the module `seed` of dns."""
    module, _, name = reference.partition(":")
    return lambda: getattr(importlib.import_module(f"podpass.lab.services.{module}"), name)
