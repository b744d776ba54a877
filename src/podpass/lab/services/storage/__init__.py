"""Azure Storage: accounts in Resource Manager and in a seed file, and their data in Azurite."""

from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING

from podpass.directory.store.extension import DirectoryExtension
from podpass.lab.services.model import InstanceParts, Service, StartedPart
from podpass.lab.services.storage.roles import ROLES

if TYPE_CHECKING:
    from podpass.directory.resource_manager.model import ResourceProvider
    from podpass.directory.store.directory import Directory
    from podpass.lab.services.storage.seed import SeedStorageAccount
    from podpass.resource.guard import KeySource
    from podpass.seed.section import SeedSection


def _provider() -> "ResourceProvider":
    from podpass.lab.services.storage.resource_manager import PROVIDER

    return PROVIDER


def _seed() -> "SeedSection[SeedStorageAccount]":
    from podpass.lab.services.storage.seed import SECTION

    return SECTION


def _start(
    context: InstanceParts, directory: "Directory", keys: "KeySource"
) -> Awaitable[tuple[StartedPart, str]] | None:
    # An instance without Azurite does not load the data plane.
    if not context.settings.azurite:
        return None
    from podpass.lab.services.storage import data_plane

    return data_plane.start(context, directory, keys)


async def _has_host(directory: "Directory", host: str) -> bool | None:
    from podpass.lab.services.storage import data_plane

    return await data_plane.has_host(directory, host)


async def _list_hosts(
    directory: "Directory", subscription_id: str, served: Iterable[str]
) -> list[str]:
    from podpass.lab.services.storage import data_plane

    return await data_plane.list_hosts(directory, subscription_id, served) if served else []


SERVICE = Service(
    name="storage",
    directory=DirectoryExtension(roles=ROLES),
    provider=_provider,
    seed=_seed,
    start=_start,
    has_host=_has_host,
    list_hosts=_list_hosts,
)
