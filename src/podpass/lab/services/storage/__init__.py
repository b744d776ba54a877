"""Azure Storage: accounts in Resource Manager and in a seed file, and their data in Azurite."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from podpass.lab.services.model import InstanceParts, Service, StartedPart, late

if TYPE_CHECKING:
    from podpass.directory.store.directory import Directory
    from podpass.resource.guard import KeySource


def _start(
    context: InstanceParts, directory: "Directory", keys: "KeySource", _data: None
) -> Awaitable[tuple[StartedPart, str]] | None:
    # An instance without Azurite does not load the data plane.
    if not context.settings.azurite:
        return None
    from podpass.lab.services.storage import data_plane

    return data_plane.start(context, directory, keys)


SERVICE = Service(
    name="storage",
    directory=late("storage.authorization:EXTENSION"),
    provider=late("storage.resource_manager:PROVIDER"),
    seed=late("storage.seed:SECTION"),
    start=_start,
    has_host=late("storage.data_plane:has_host"),
    list_hosts=late("storage.data_plane:list_hosts"),
)
