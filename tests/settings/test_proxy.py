"""Settings of the migration sidecar."""

import pytest

from podpass.errors import SettingsError
from podpass.settings.proxy import ProxySettings

POD = {"AZURE_TENANT_ID": "t", "AZURE_FEDERATED_TOKEN_FILE": "/token"}
ENDPOINT = {"AZURE_KUBERNETES_TOKEN_PROXY": "https://proxy.example"}


@pytest.mark.parametrize(
    "variable",
    ["AZURE_KUBERNETES_SNI_NAME", "AZURE_KUBERNETES_CA_FILE", "AZURE_KUBERNETES_CA_DATA"],
)
def test_identity_binding_without_its_endpoint_is_refused(variable: str) -> None:
    """Fails if the sidecar sends the token to the public endpoint instead."""
    with pytest.raises(
        SettingsError, match=f"AZURE_KUBERNETES_TOKEN_PROXY not set, but {variable}"
    ):
        ProxySettings.from_environ({**POD, variable: "x"})
    assert ProxySettings.from_environ({**POD, **ENDPOINT, variable: "x"}).token_proxy
