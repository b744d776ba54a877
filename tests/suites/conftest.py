"""One instance for all suites: an application with a secret, and a vault that it administers."""

from collections.abc import Iterator, Mapping

import pytest

from tests.journey.instance import Instance, started
from tests.peers.rest import RestClient

_CLIENT = "11111111-aaaa-4bbb-8ccc-0000000000aa"
_SEED = f"""
identities:
  - {{name: suites, kind: application, client_id: {_CLIENT}}}
vaults:
  - name: suites-vault
    access: [{{identity: suites, role: Key Vault Administrator}}]
administrators: [suites]
"""


@pytest.fixture(scope="session")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    folder = tmp_path_factory.mktemp("suites")
    seed = folder / "suites.yaml"
    seed.write_text(_SEED)
    with started(folder) as running:
        running.podpass("apply", "-f", str(seed))
        yield running


@pytest.fixture(scope="session")
def sign_in(instance: Instance) -> Mapping[str, str]:
    """Return the variables with which Microsoft's live tests sign in."""
    rest = RestClient(instance)
    status, made = rest(
        "POST", f"/v1.0/applications(appId='{_CLIENT}')/addPassword", {"passwordCredential": {}}
    )
    assert status == 200, made
    admin = instance.status["admin"]
    application = {
        "TENANT_ID": instance.status["tenant_id"],
        "CLIENT_ID": _CLIENT,
        "CLIENT_SECRET": made["secretText"],
    }
    return {
        **{f"AZURE_{name}": value for name, value in application.items()},
        **{f"KEYVAULT_{name}": value for name, value in application.items()},
        "AZURE_USERNAME": admin["username"],
        "AZURE_PASSWORD": admin["password"],
        "USER_TENANT": instance.status["tenant_id"],
        "AZURE_KEYVAULT_URL": "https://suites-vault.vault.azure.net",
        # Tests of keys in an HSM run against a premium vault only.
        "KEYVAULT_SKU": "standard",
    }
