"""Every operation on keys and certificates with released clients, whose results must agree with the vault."""

from pathlib import Path

import pytest

from tests.clients import toolchains
from tests.journey.instance import Instance

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

SEED = """
vaults:
  - name: client-keys
    access: [{identity: web, role: Key Vault Crypto Officer}]
  - name: client-certificates
    access:
      - {identity: web, role: Key Vault Certificates Officer}
      - {identity: web, role: Key Vault Certificate User}
"""
CLIENTS = ["oldest", "newest", "node", "java", "go"]


@pytest.fixture(scope="module", autouse=True)
def vaults(instance: Instance, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Create a vault whose keys, and one whose certificates the identity `web` may manage."""
    seed: Path = tmp_path_factory.mktemp("keys") / "seed.yaml"
    seed.write_text(SEED)
    instance.podpass("apply", "-f", str(seed))


@pytest.mark.parametrize("client", CLIENTS)
def test_released_client_uses_every_operation_on_keys(instance: Instance, client: str) -> None:
    _run(instance, f"keys-{client}", [*toolchains.keys(client), "client-keys"])


@pytest.mark.parametrize("client", CLIENTS)
def test_released_client_uses_every_operation_on_certificates(
    instance: Instance, client: str
) -> None:
    command = [*toolchains.certificates(client), "client-certificates"]
    _run(instance, f"certificates-{client}", command)


def _run(instance: Instance, name: str, command: list[str]) -> None:
    instance.create_pod(name, "web", command)
    phase, printed = instance.wait_for_end(name, 300)
    assert (phase, printed.splitlines()[-1:]) == ("Succeeded", ["passed"]), printed
