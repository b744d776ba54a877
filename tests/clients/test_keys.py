"""Every operation on keys with released clients, whose local cryptography must agree with the vault."""

from pathlib import Path

import pytest

from tests.clients import toolchains
from tests.journey.instance import Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

VAULT = "client-keys"
SEED = f"""
vaults:
  - name: {VAULT}
    access: [{{identity: web, role: Key Vault Crypto Officer}}]
"""


@pytest.fixture(scope="module")
def vault(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Create a vault whose keys the identity `web` may manage."""
    seed: Path = tmp_path_factory.mktemp("keys") / "seed.yaml"
    seed.write_text(SEED)
    instance.podpass("apply", "-f", str(seed))
    return VAULT


@pytest.mark.parametrize("client", ["oldest", "newest", "node", "java", "go"])
def test_released_client_uses_every_operation_on_keys(
    instance: Instance, vault: str, client: str
) -> None:
    command = [*toolchains.keys(client), vault]
    instance.create_pod(f"keys-{client}", "web", command)
    phase, printed = instance.wait_for_end(f"keys-{client}", 300)
    assert (phase, printed.splitlines()[-1:]) == ("Succeeded", ["passed"]), printed
