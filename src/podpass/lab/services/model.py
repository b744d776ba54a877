"""What an Azure service is to an instance: one value, which its folder exports."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from podpass.directory.store.extension import DirectoryExtension

if TYPE_CHECKING:
    from podpass.directory.resource_manager.model import ResourceProvider
    from podpass.directory.store.directory import Directory
    from podpass.lab.names.resolver import AnswerName
    from podpass.seed.model import Seed
    from podpass.seed.section import SeedSection


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The parts of a service; a part that it lacks is None.

    Each part is imported when it is needed: an instance that only exchanges tokens starts without Resource
    Manager, and a command that parses a seed loads no part of the data plane.

    Without a service that it `requires`, an instance does not have it either.

    `provider` has its routes and types in Resource Manager; `seed` its section of the seed file;
    `answer_name` answers DNS queries; `warn_at_install` returns warnings for a seed that is applied to a
    cluster, given the value of `podpass cloud install --dns`; `is_webhook_enabled` returns whether the stored
    resources of a subscription let the webhook run at the start.
    """

    name: str
    requires: tuple[str, ...] = ()
    directory: DirectoryExtension = DirectoryExtension()  # noqa: RUF009 frozen
    provider: Callable[[], "ResourceProvider"]
    seed: "Callable[[], SeedSection[Any]] | None" = None
    answer_name: "Callable[[Directory], AnswerName] | None" = None
    warn_at_install: "Callable[[Seed, str], list[str]] | None" = None
    is_webhook_enabled: "Callable[[Directory, str], Awaitable[bool]] | None" = None
