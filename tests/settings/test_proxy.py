"""Settings of the migration sidecar."""

import pytest

from podpass.errors import SettingsError
from podpass.settings.proxy import ProxyInitSettings, ProxySettings

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


@pytest.mark.parametrize("address", ["127.0.0.1", "127.64.1.2", "127.255.255.254"])
def test_sidecar_listens_on_a_loopback_address(address: str) -> None:
    settings = ProxySettings.from_environ({**POD, "PROXY_ADDRESS": address})
    assert settings.proxy_address == address
    assert ProxySettings.from_environ(POD).proxy_address == "127.0.0.1"


@pytest.mark.parametrize(
    "address", ["", "0.0.0.0", "10.0.0.7", "169.254.169.254", "::1", "::", "localhost", "127.1"]
)
def test_address_that_others_can_reach_is_refused(address: str) -> None:
    """Fails if another pod of a cluster could get this pod's tokens."""
    with pytest.raises(SettingsError, match=r"PROXY_ADDRESS .* must be a loopback address"):
        ProxySettings.from_environ({**POD, "PROXY_ADDRESS": address})


@pytest.mark.parametrize(("text", "wanted"), [("true", True), ("false", False)])
def test_forwarding_is_on_unless_it_is_turned_off(text: str, wanted: bool) -> None:
    assert ProxySettings.from_environ(POD).forward is True
    assert ProxySettings.from_environ({**POD, "PROXY_FORWARD": text}).forward is wanted
    with pytest.raises(SettingsError, match="PROXY_FORWARD"):
        ProxySettings.from_environ({**POD, "PROXY_FORWARD": "maybe"})


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1 -j ACCEPT", "0.0.0.0/0", "::1", "localhost", "1.2.3.4\n", "!1.2.3.4", "1.2.3"],
)
def test_metadata_address_that_is_not_ipv4_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="must be an IPv4 address"):
        ProxyInitSettings.from_environ({"METADATA_IP": text})


@pytest.mark.parametrize("name", ["PROXY_PORT", "METADATA_PORT", "PROXY_UID"])
@pytest.mark.parametrize(
    "text", ["80 -j ACCEPT", "-1", "1:2", "80\n", "\u0668\u0660", "99999999999"]
)
def test_redirect_setting_that_is_not_a_valid_number_is_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match="must be a"):
        ProxyInitSettings.from_environ({name: text})
