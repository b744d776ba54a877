"""Azure Storage: accounts in Resource Manager and in a seed file."""

from typing import TYPE_CHECKING

from podpass.lab.services.model import Service

if TYPE_CHECKING:
    from podpass.directory.resource_manager.model import ResourceProvider
    from podpass.lab.services.storage.seed import SeedStorageAccount
    from podpass.seed.section import SeedSection


def _provider() -> "ResourceProvider":
    from podpass.lab.services.storage.resource_manager import PROVIDER

    return PROVIDER


def _seed() -> "SeedSection[SeedStorageAccount]":
    from podpass.lab.services.storage.seed import SECTION

    return SECTION


SERVICE = Service(name="storage", provider=_provider, seed=_seed)
