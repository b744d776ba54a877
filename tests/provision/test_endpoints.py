"""The endpoints of each cloud."""

import json
from pathlib import Path

import pytest

from podpass.errors import UsageError
from podpass.provision.endpoints import find_endpoints


@pytest.mark.parametrize(
    ("name", "login", "graph", "manager", "audience"),
    [
        (
            "AzurePublicCloud",
            "https://login.microsoftonline.com",
            "https://graph.microsoft.com",
            "https://management.azure.com",
            "api://AzureADTokenExchange",
        ),
        (
            "azureusgovernmentcloud",
            "https://login.microsoftonline.us",
            "https://graph.microsoft.us",
            "https://management.usgovcloudapi.net",
            "api://AzureADTokenExchangeUSGov",
        ),
        (
            "AZURECHINACLOUD",
            "https://login.partner.microsoftonline.cn",
            "https://microsoftgraph.chinacloudapi.cn",
            "https://management.chinacloudapi.cn",
            "api://AzureADTokenExchangeChina",
        ),
    ],
)
def test_every_endpoint_is_that_of_the_cloud(
    name: str, login: str, graph: str, manager: str, audience: str
) -> None:
    found = find_endpoints(name)
    assert (found.login, found.graph, found.manager) == (login, graph, manager)
    assert (found.manager_resource, found.audience) == (manager, audience)


def test_cloud_names_of_the_reference_and_of_az_select_the_same_cloud() -> None:
    assert find_endpoints("AzurePublicCloud") == find_endpoints("AzureCloud")
    assert find_endpoints("AzureUSGovernmentCloud") == find_endpoints("AzureUSGovernment")
    assert find_endpoints("AzureGermanCloud").login == "https://login.microsoftonline.de"


@pytest.mark.parametrize("name", ["", "Moon", "AzurePublic"])
def test_unknown_cloud_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_endpoints(name)
    assert caught.value.message.startswith("failed to parse --azure-env as a valid target Azure")
    assert "AzureUSGovernment" in caught.value.hint


VALUES = {
    "activeDirectoryEndpoint": "https://login.x/",
    "resourceManagerEndpoint": "https://manager.x:8443/",
    "microsoftGraphEndpoint": "https://graph.x",
}


def test_another_cloud_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "cloud.json"
    file.write_text(json.dumps({**VALUES, "tokenAudience": "https://manager.core/"}))
    found = find_endpoints("azurestackcloud", stack_file=str(file))
    assert (found.login, found.graph) == ("https://login.x", "https://graph.x")
    assert found.manager == "https://manager.x:8443"
    assert found.manager_resource == "https://manager.core"
    file.write_text(json.dumps(VALUES))
    found = find_endpoints("azurestackcloud", stack_file=str(file))
    assert found.manager_resource == "https://manager.x:8443"


@pytest.mark.parametrize(
    "change",
    [
        {"microsoftGraphEndpoint": "http://graph.x"},
        {"microsoftGraphEndpoint": "https://user@graph.x"},
        {"resourceManagerEndpoint": "https://"},
        {"activeDirectoryEndpoint": "https://["},
    ],
    ids=["http", "user", "no-host", "not-a-url"],
)
def test_endpoint_that_is_not_https_is_refused(tmp_path: Path, change: dict[str, str]) -> None:
    file = tmp_path / "cloud.json"
    file.write_text(json.dumps({**VALUES, **change}))
    with pytest.raises(UsageError, match="AZURE_ENVIRONMENT_FILEPATH"):
        find_endpoints("AzureStackCloud", stack_file=str(file))
    with pytest.raises(UsageError, match="AZURE_ENVIRONMENT_FILEPATH"):
        find_endpoints("AzureStackCloud", stack_file=str(tmp_path / "none"))
