"""What clients read before they do anything: cloud, tenant, subscription, providers, resources."""

import uuid
from typing import Any

import pytest

from podpass.directory.model import Identity

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
SUB = f"/subscriptions/{SUBSCRIPTION}"
ENDPOINTS = "/metadata/endpoints"


async def test_anybody_may_ask_what_the_cloud_is(world: Any) -> None:
    status, body, _ = await world.ask("GET", ENDPOINTS, who=None, version="2022-09-01")
    assert (status, body["name"]) == (200, "AzureCloud")
    assert body["resourceManager"] == "https://management.azure.com/"
    assert body["microsoftGraphResourceId"] == "https://graph.microsoft.com/"
    assert body["authentication"]["loginEndpoint"] == "https://login.microsoftonline.com/"
    assert body["authentication"]["audiences"][0] == "https://management.core.windows.net/"
    assert body["suffixes"]["keyVaultDns"] == "vault.azure.net"


async def test_without_the_gateway_the_cloud_is_where_the_client_found_it(world: Any) -> None:
    here = f"localhost:{world.port}"
    _, body, _ = await world.ask("GET", ENDPOINTS, who=None, version="2022-09-01", host=here)
    assert body["resourceManager"] == f"https://{here}/"
    assert body["microsoftGraphResourceId"] == f"https://{here}/"
    assert body["authentication"]["loginEndpoint"] == "https://localhost:18443/"
    assert body["authentication"]["tenant"] == TENANT
    assert body["suffixes"]["keyVaultDns"] == "vault.localhost:18444"
    # What az reads when a cloud is registered; without any of them it fails.
    assert {
        "portal",
        "graph",
        "graphAudience",
        "media",
        "batch",
        "gallery",
        "sqlManagement",
        "vmImageAliasDoc",
        "activeDirectoryDataLake",
        "appInsightsResourceId",
        "logAnalyticsResourceId",
    } <= set(body)
    assert {"keyVaultDns", "storage", "sqlServerHostname", "acrLoginServer", "mhsmDns"} <= set(
        body["suffixes"]
    )


async def test_each_version_of_the_document_has_its_form(world: Any) -> None:
    _, body, _ = await world.ask("GET", ENDPOINTS, who=None, version="2019-05-01")
    assert [one["name"] for one in body] == ["AzureCloud"]
    _, body, _ = await world.ask("GET", ENDPOINTS, who=None, version="2015-01-01")
    assert set(body) == {"galleryEndpoint", "graphEndpoint", "portalEndpoint", "authentication"}
    status, body, _ = await world.ask("GET", ENDPOINTS, who=None, version=None)
    assert (status, body["error"]["code"]) == (400, "MissingApiVersionParameter")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "a;localhost", "localhost;evil", "localhost%2fevil"],
)
async def test_a_host_that_is_no_ones_is_not_repeated(world: Any, host: str) -> None:
    _, body, _ = await world.ask("GET", ENDPOINTS, who=None, version="2022-09-01", host=host)
    assert body["resourceManager"] == "https://management.azure.com/"
    assert "evil" not in str(body)


async def test_tenant_and_subscription_are_what_az_login_reads(world: Any) -> None:
    _, body, _ = await world.ask("GET", "/tenants")
    assert [(one["tenantId"], one["defaultDomain"]) for one in body["value"]] == [
        (TENANT, "contoso.example")
    ]
    _, body, _ = await world.ask("GET", "/subscriptions", version="2022-12-01")
    [one] = body["value"]
    assert (one["id"], one["subscriptionId"], one["displayName"], one["state"]) == (
        SUB,
        SUBSCRIPTION,
        "podpass",
        "Enabled",
    )
    assert (await world.ask("GET", SUB.upper().replace("SUBSCRIPTIONS", "subscriptions")))[1] == one


async def test_a_subscription_is_seen_by_whoever_holds_a_role_in_it(world: Any) -> None:
    mine = await world.group("mine")
    await world.caller("reader", "Reader", mine)
    await world.caller("nobody")
    assert len((await world.ask("GET", "/subscriptions", who="reader"))[1]["value"]) == 1
    assert (await world.ask("GET", SUB, who="reader"))[0] == 200
    assert (await world.ask("GET", f"{SUB}/locations", who="reader"))[0] == 200
    assert (await world.ask("GET", "/subscriptions", who="nobody"))[1]["value"] == []
    assert (await world.ask("GET", SUB, who="nobody"))[0] == 403


async def test_locations_are_named_twice(world: Any) -> None:
    _, body, _ = await world.ask("GET", f"{SUB}/locations")
    found = {one["name"]: one for one in body["value"]}
    assert len(found) > 40
    assert found["eastus"]["displayName"] == "East US"
    assert found["eastus"]["regionalDisplayName"] == "(US) East US"
    assert found["eastus"]["metadata"]["pairedRegion"][0]["name"] == "westus"
    assert all(name == one["displayName"].replace(" ", "").lower() for name, one in found.items())


async def test_providers_are_registered_from_the_start(world: Any) -> None:
    _, body, _ = await world.ask("GET", f"{SUB}/providers")
    assert [one["namespace"] for one in body["value"]] == [
        "Microsoft.Authorization",
        "Microsoft.ContainerService",
        "Microsoft.KeyVault",
        "Microsoft.ManagedIdentity",
        "Microsoft.Resources",
    ]
    for method, verb in (("GET", ""), ("POST", "/register")):
        path = f"{SUB}/providers/microsoft.keyvault{verb}"
        status, body, _ = await world.ask(method, path)
        assert (status, body["registrationState"]) == (200, "Registered")
        types = {one["resourceType"]: one for one in body["resourceTypes"]}
        assert "East US" in types["vaults"]["locations"]
        assert "2026-02-01" in types["vaults"]["apiVersions"]
    status, body, _ = await world.ask("GET", f"{SUB}/providers/Microsoft.Compute")
    assert (status, body["error"]["code"]) == (404, "InvalidResourceNamespace")


async def test_the_operations_of_a_provider_are_those_that_are_served(world: Any) -> None:
    _, body, _ = await world.ask("GET", "/providers/Microsoft.ManagedIdentity/operations")
    assert {one["name"].partition("/")[2] for one in body["value"]} == {
        f"userAssignedIdentities{part}/{verb}"
        for part in ("", "/federatedIdentityCredentials")
        for verb in ("read", "write", "delete")
    }


@pytest.fixture
async def resources(world: Any) -> None:
    await world.group()
    await world.group("other")
    for name in ("id-1", "id-2"):
        await world.identity(name, tags={"team": "x"})
    await world.identity("id-3", "other", location="westus")
    await world.vault("vault-1")
    await world.vault("vault-2", "other")
    pools = [{"name": "nodepool1"}]
    path = f"{SUB}/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/aks"
    body = {"location": "eastus", "properties": {"agentPoolProfiles": pools}}
    await world.ask("PUT", path, body)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", "id-1 id-2 id-3 vault-1 vault-2 aks"),
        ("resourceType eq 'Microsoft.KeyVault/vaults'", "vault-1 vault-2"),
        ("resourceType eq 'microsoft.keyvault/VAULTS' and name eq 'VAULT-2'", "vault-2"),
        ("resourceType eq 'Microsoft.ManagedIdentity/userAssignedIdentities'", "id-1 id-2 id-3"),
        ("resourceType eq 'Microsoft.ContainerService/managedClusters'", "aks"),
        ("resourceType eq 'Microsoft.Storage/storageAccounts'", ""),
        ("resourceGroup eq 'OTHER'", "id-3 vault-2"),
        ("name eq 'id-2'", "id-2"),
        ("tagName eq 'team' and tagValue eq 'x'", "id-1 id-2"),
        ("location eq 'westus'", "id-3"),
    ],
)
@pytest.mark.usefixtures("resources")
async def test_resources_are_found_over_all_types(world: Any, wanted: str, found: str) -> None:
    query = wanted.replace(" ", "%20")
    status, body, _ = await world.ask("GET", f"{SUB}/resources?$filter={query}")
    assert status == 200
    listed = {one["name"] for one in body["value"]}
    assert listed == set(found.split())
    assert all({"id", "name", "type", "location"} <= set(one) for one in body["value"])


@pytest.mark.usefixtures("resources")
async def test_resources_are_listed_page_by_page_over_all_types(world: Any) -> None:
    path = f"{SUB}/resourceGroups/rg/resources"
    assert await world.pages(f"{path}?$top=1") == [["id-1"], ["id-2"], ["vault-1"], ["aks"]]
    assert await world.pages(f"{path}?$top=2") == [["id-1", "id-2"], ["vault-1", "aks"]]
    assert await world.pages(f"{path}?$top=3") == [["id-1", "id-2", "vault-1"], ["aks"]]
    assert await world.pages(path) == [["id-1", "id-2", "vault-1", "aks"]]


async def test_a_long_look_ends_and_says_where_to_go_on(world: Any) -> None:
    """One request is not to read a hundred thousand resources for the few that are asked for."""
    await world.group()
    scope = f"{SUB}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    made = [
        Identity(
            tenant_id=TENANT,
            client_id=str(uuid.uuid4()),
            object_id=str(uuid.uuid4()),
            name=f"id-{number:04}",
            location="westus" if number == 2100 else "eastus",
            resource_id=f"{scope}/id-{number:04}",
        )
        for number in range(2200)
    ]
    await world.directory.identities.put_many(made)
    pages = await world.pages(f"{SUB}/resources?$filter=location%20eq%20'westus'")
    assert pages == [[], ["id-2100"]]


@pytest.mark.usefixtures("resources")
async def test_resources_are_shown_to_those_who_may_read_them(world: Any) -> None:
    scope = f"{SUB}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/vault-1"
    await world.caller("reader", "Reader", scope)
    await world.caller("nobody")
    _, body, _ = await world.ask("GET", f"{SUB}/resources", who="reader")
    assert [one["name"] for one in body["value"]] == ["vault-1"]
    assert (await world.ask("GET", f"{SUB}/resources", who="nobody"))[0] == 403
    status, body, _ = await world.ask("GET", f"{SUB}/resourceGroups/nope/resources")
    assert (status, body["error"]["code"]) == (404, "ResourceGroupNotFound")
