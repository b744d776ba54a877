"""Service Connector: connections from the managed cluster to other resources, and those resources."""

from typing import TYPE_CHECKING

from podpass.directory.store.extension import DirectoryExtension
from podpass.lab.services.connector.roles import SERVICE_ROLES
from podpass.lab.services.connector.store import Linkers
from podpass.lab.services.model import Service

if TYPE_CHECKING:
    from podpass.directory.resource_manager.model import ResourceProvider
    from podpass.lab.services.connector.seed import SeedConnectionTarget
    from podpass.seed.section import SeedSection


def _provider() -> "ResourceProvider":
    from podpass.lab.services.connector.resource_manager import PROVIDER

    return PROVIDER


def _seed() -> "SeedSection[SeedConnectionTarget]":
    from podpass.lab.services.connector.seed import SECTION

    return SECTION


SERVICE = Service(
    name="connector",
    requires=("clusters",),
    directory=DirectoryExtension(roles=SERVICE_ROLES, stores=(Linkers,)),
    provider=_provider,
    seed=_seed,
)
