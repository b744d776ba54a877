"""Azure Kubernetes Service: the cluster of an instance as a managed cluster."""

from typing import TYPE_CHECKING

from podpass.directory.store.extension import DirectoryExtension
from podpass.lab.services.clusters.roles import ROLES
from podpass.lab.services.clusters.store import Clusters, remove_below
from podpass.lab.services.model import Service

if TYPE_CHECKING:
    from podpass.directory.resource_manager.model import ResourceProvider
    from podpass.directory.store.directory import Directory


def _provider() -> "ResourceProvider":
    from podpass.lab.services.clusters.provider import PROVIDER

    return PROVIDER


async def _is_webhook_enabled(directory: "Directory", subscription_id: str) -> bool:
    from podpass.lab.services.clusters.wire import is_workload_identity_enabled

    found = await directory.store(Clusters).page(subscription_id, limit=1)
    return is_workload_identity_enabled(found[0].document if found else {})


SERVICE = Service(
    name="clusters",
    directory=DirectoryExtension(roles=ROLES, stores=(Clusters,), remove_below=remove_below),
    provider=_provider,
    is_webhook_enabled=_is_webhook_enabled,
)
