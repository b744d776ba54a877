"""The directory of the shared instance, for the commands that provision."""

import pytest

from tests.cli.azure_world import AzureWorld
from tests.lab.instance.instances import Podpass


@pytest.fixture(scope="module")
def world(running: Podpass) -> AzureWorld:
    world = AzureWorld.of(running)
    world.create_group("rg")
    return world
