"""The plugin's fixtures, as a project uses them; `podpass` of the other folders is the command line."""

from collections.abc import Iterator
from typing import Any

import pytest

from podpass.pytest.instance import Podpass

SEED = {
    "identities": [
        {
            "name": "seeded",
            "federated_credentials": [
                {
                    "name": "web",
                    "issuer": "cluster",
                    "subject": "system:serviceaccount:default:seeded",
                }
            ],
        }
    ],
    "vaults": [
        {
            "name": "seeded-vault",
            "secrets": {"greeting": "hello"},
            "access": [{"identity": "seeded", "role": "Key Vault Secrets User"}],
        }
    ],
}


@pytest.fixture(scope="session")
def podpass_seed() -> Any:
    return SEED


@pytest.fixture
def podpass(podpass_instance: Podpass) -> Iterator[Podpass]:
    """Override the fixture of tests/conftest.py as the plugin defines it."""
    yield podpass_instance
    podpass_instance.reset()
