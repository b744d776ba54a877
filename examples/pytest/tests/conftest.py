"""The state at the start of each test: one identity and one vault."""

from typing import Any

import pytest

from podpass.pytest.environment import TestEnvironment
from podpass.pytest.instance import Podpass
from podpass.pytest.objects import IdentityHandle


@pytest.fixture(scope="session")
def podpass_seed() -> dict[str, Any]:
    credential = {
        "name": "greeter",
        "issuer": "cluster",
        "subject": "system:serviceaccount:default:greeter",
    }
    return {
        "identities": [{"name": "greeter", "federated_credentials": [credential]}],
        "vaults": [
            {
                "name": "greetings",
                "secrets": {"greeting": "hello"},
                "access": [{"identity": "greeter", "role": "Key Vault Secrets User"}],
            }
        ],
    }


@pytest.fixture
def greeter(podpass: Podpass, podpass_env: TestEnvironment) -> IdentityHandle:
    """Sign the test process in as the application."""
    identity = podpass.identity("greeter")
    podpass_env.sign_in(identity)
    return identity
