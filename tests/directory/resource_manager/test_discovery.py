"""Discovery by clients: cloud metadata, tenant, subscription, locations, providers, resources."""

import uuid
from typing import Any

import pytest

from podpass.directory.model import Identity

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
SUB = f"/subscriptions/{SUBSCRIPTION}"
ENDPOINTS = "/metadata/endpoints"


async def test_cloud_metadata_needs_no_token(manager: Any) -> None:
    status, body, _ = await manager.send("GET", ENDPOINTS, caller=None, version="2022-09-01")
    assert (status, body["name"]) == (200, "AzureCloud")
    assert body["resourceManager"] == "https://management.azure.com/"
    assert body["microsoftGraphResourceId"] == "https://graph.microsoft.com/"
    assert body["authentication"]["loginEndpoint"] == "https://login.microsoftonline.com/"
    assert body["authentication"]["audiences"][0] == "https://management.core.windows.net/"
    assert body["suffixes"]["keyVaultDns"] == "vault.azure.net"


async def test_cloud_metadata_has_loopback_urls_without_the_gateway(manager: Any) -> None:
    here = f"localhost:{manager.port}"
    _, body, _ = await manager.send("GET", ENDPOINTS, caller=None, version="2022-09-01", host=here)
    assert body["resourceManager"] == f"https://{here}/"
    assert body["microsoftGraphResourceId"] == f"https://{here}/"
    assert body["authentication"]["loginEndpoint"] == "https://localhost:18443/"
    assert body["authentication"]["tenant"] == TENANT
    assert body["suffixes"]["keyVaultDns"] == "vault.localhost:18444"
    # az reads these when a cloud is registered, and fails if one is missing.
    assert {
        *("portal", "graph", "graphAudience", "media", "batch", "gallery", "sqlManagement"),
        *("vmImageAliasDoc", "activeDirectoryDataLake"),
        *("appInsightsResourceId", "logAnalyticsResourceId"),
    } <= set(body)
    assert {"keyVaultDns", "storage", "sqlServerHostname", "acrLoginServer", "mhsmDns"} <= set(
        body["suffixes"]
    )


async def test_cloud_metadata_format_depends_on_the_api_version(manager: Any) -> None:
    _, body, _ = await manager.send("GET", ENDPOINTS, caller=None, version="2019-05-01")
    assert [one["name"] for one in body] == ["AzureCloud"]
    _, body, _ = await manager.send("GET", ENDPOINTS, caller=None, version="2015-01-01")
    assert set(body) == {"galleryEndpoint", "graphEndpoint", "portalEndpoint", "authentication"}
    status, body, _ = await manager.send("GET", ENDPOINTS, caller=None, version=None)
    assert (status, body["error"]["code"]) == (400, "MissingApiVersionParameter")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "a;localhost", "localhost;evil", "localhost%2fevil"],
)
async def test_unknown_host_is_not_repeated_in_cloud_metadata(manager: Any, host: str) -> None:
    _, body, _ = await manager.send("GET", ENDPOINTS, caller=None, version="2022-09-01", host=host)
    assert body["resourceManager"] == "https://management.azure.com/"
    assert "evil" not in str(body)


async def test_tenant_and_subscription_have_the_properties_that_az_login_reads(
    manager: Any,
) -> None:
    _, body, _ = await manager.send("GET", "/tenants")
    assert [(one["tenantId"], one["defaultDomain"]) for one in body["value"]] == [
        (TENANT, "contoso.example")
    ]
    _, body, _ = await manager.send("GET", "/subscriptions", version="2022-12-01")
    [one] = body["value"]
    assert (one["id"], one["subscriptionId"], one["displayName"], one["state"]) == (
        SUB,
        SUBSCRIPTION,
        "podpass",
        "Enabled",
    )
    assert (await manager.send("GET", SUB.upper().replace("SUBSCRIPTIONS", "subscriptions")))[
        1
    ] == one


async def test_subscription_is_visible_only_with_a_role_in_it(manager: Any) -> None:
    mine = await manager.group("mine")
    await manager.add_caller("reader", "Reader", mine)
    await manager.add_caller("unprivileged")
    assert len((await manager.send("GET", "/subscriptions", caller="reader"))[1]["value"]) == 1
    assert (await manager.send("GET", SUB, caller="reader"))[0] == 200
    assert (await manager.send("GET", f"{SUB}/locations", caller="reader"))[0] == 200
    assert (await manager.send("GET", "/subscriptions", caller="unprivileged"))[1]["value"] == []
    assert (await manager.send("GET", SUB, caller="unprivileged"))[0] == 403


async def test_locations_have_a_name_and_a_display_name(manager: Any) -> None:
    _, body, _ = await manager.send("GET", f"{SUB}/locations")
    found = {one["name"]: one for one in body["value"]}
    assert len(found) > 40
    assert found["eastus"]["displayName"] == "East US"
    assert found["eastus"]["regionalDisplayName"] == "(US) East US"
    assert found["eastus"]["metadata"]["pairedRegion"][0]["name"] == "westus"
    assert all(name == one["displayName"].replace(" ", "").lower() for name, one in found.items())


async def test_providers_are_registered_from_the_start(manager: Any) -> None:
    _, body, _ = await manager.send("GET", f"{SUB}/providers")
    assert {one["namespace"] for one in body["value"]} >= {
        *("Microsoft.Authorization", "Microsoft.ContainerService", "Microsoft.KeyVault"),
        *("Microsoft.KubernetesConfiguration", "Microsoft.ManagedIdentity", "Microsoft.Resources"),
        *("Microsoft.ServiceLinker", "Microsoft.Storage"),
    }
    for method, verb in (("GET", ""), ("POST", "/register")):
        path = f"{SUB}/providers/microsoft.keyvault{verb}"
        status, body, _ = await manager.send(method, path)
        assert (status, body["registrationState"]) == (200, "Registered")
        types = {one["resourceType"]: one for one in body["resourceTypes"]}
        assert "East US" in types["vaults"]["locations"]
        assert "2026-02-01" in types["vaults"]["apiVersions"]
    status, body, _ = await manager.send("GET", f"{SUB}/providers/Microsoft.Web")
    assert (status, body["error"]["code"]) == (404, "InvalidResourceNamespace")


async def test_operations_of_a_provider_are_the_served_operations(manager: Any) -> None:
    _, body, _ = await manager.send("GET", "/providers/Microsoft.ManagedIdentity/operations")
    assert {one["name"].partition("/")[2] for one in body["value"]} == {
        "userAssignedIdentities/listAssociatedResources/action",
        *(
            f"userAssignedIdentities{part}/{verb}"
            for part in ("", "/federatedIdentityCredentials")
            for verb in ("read", "write", "delete")
        ),
    }


@pytest.fixture
async def resources(manager: Any) -> None:
    await manager.group()
    await manager.group("other")
    for name in ("id-1", "id-2"):
        await manager.identity(name, tags={"team": "x"})
    await manager.identity("id-3", "other", location="westus")
    await manager.vault("vault-1")
    await manager.vault("vault-2", "other")
    pools = [{"name": "nodepool1"}]
    path = f"{SUB}/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/aks"
    body = {"location": "eastus", "properties": {"agentPoolProfiles": pools}}
    await manager.send("PUT", path, body)


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
async def test_resources_of_all_types_are_filtered(manager: Any, wanted: str, found: str) -> None:
    query = wanted.replace(" ", "%20")
    status, body, _ = await manager.send("GET", f"{SUB}/resources?$filter={query}")
    assert status == 200
    listed = {one["name"] for one in body["value"]}
    assert listed == set(found.split())
    assert all({"id", "name", "type", "location"} <= set(one) for one in body["value"])


@pytest.mark.usefixtures("resources")
async def test_resources_of_all_types_are_paged(manager: Any) -> None:
    path = f"{SUB}/resourceGroups/rg/resources"
    assert await manager.pages(f"{path}?$top=1") == [["id-1"], ["id-2"], ["vault-1"], ["aks"]]
    assert await manager.pages(f"{path}?$top=2") == [["id-1", "id-2"], ["vault-1", "aks"]]
    assert await manager.pages(f"{path}?$top=3") == [["id-1", "id-2", "vault-1"], ["aks"]]
    assert await manager.pages(path) == [["id-1", "id-2", "vault-1", "aks"]]


async def test_long_scan_ends_with_a_next_link(manager: Any) -> None:
    """Fails if one request reads all resources to return a few."""
    await manager.group()
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
    await manager.directory.identities.put_many(made)
    pages = await manager.pages(f"{SUB}/resources?$filter=location%20eq%20'westus'")
    assert pages == [[], ["id-2100"]]


@pytest.mark.usefixtures("resources")
async def test_caller_lists_only_the_resources_that_it_may_read(manager: Any) -> None:
    scope = f"{SUB}/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/vault-1"
    await manager.add_caller("reader", "Reader", scope)
    await manager.add_caller("unprivileged")
    _, body, _ = await manager.send("GET", f"{SUB}/resources", caller="reader")
    assert [one["name"] for one in body["value"]] == ["vault-1"]
    assert (await manager.send("GET", f"{SUB}/resources", caller="unprivileged"))[0] == 403
    status, body, _ = await manager.send("GET", f"{SUB}/resourceGroups/nope/resources")
    assert (status, body["error"]["code"]) == (404, "ResourceGroupNotFound")


@pytest.mark.parametrize("scope", [SUB, f"{SUB}/resourceGroups/rg"])
@pytest.mark.parametrize(
    "kind",
    [
        "Microsoft.Authorization/locks",
        "Microsoft.Authorization/policyAssignments",
        "Microsoft.Authorization/policyExemptions",
        "Microsoft.Compute/virtualMachines",
        "Microsoft.Resources/deployments",
    ],
)
async def test_lists_of_services_that_are_not_served_are_empty(
    manager: Any, scope: str, kind: str
) -> None:
    await manager.group("rg")
    status, body, _ = await manager.send("GET", f"{scope}/providers/{kind}")
    assert (status, body) == (200, {"value": []})
    namespace, _, name = kind.partition("/")
    _, body, _ = await manager.send("GET", f"{SUB}/providers/{namespace}")
    assert name in {one["resourceType"] for one in body["resourceTypes"]}
    await manager.add_caller("unprivileged")
    status, _, _ = await manager.send("GET", f"{scope}/providers/{kind}", caller="unprivileged")
    assert status == 403
    path = f"{SUB}/resourceGroups/absent/providers/{kind}"
    assert (await manager.send("GET", path))[1]["error"]["code"] == "ResourceGroupNotFound"


async def test_tag_names_are_an_empty_list(manager: Any) -> None:
    assert (await manager.send("GET", f"{SUB}/tagNames"))[1] == {"value": []}


async def test_path_that_is_not_served_is_reported_before_its_filter(manager: Any) -> None:
    query = "$filter=eventTimestamp%20ge%202026-12-01"
    path = f"{SUB}/providers/Microsoft.Insights/eventtypes/management/values?{query}"
    status, body, _ = await manager.send("GET", path)
    assert (status, body["error"]["code"]) == (404, "NotFound")
    assert "`podpass audit`" in body["error"]["message"]
    status, body, _ = await manager.send("GET", f"{SUB}/resources?{query}")
    assert (status, body["error"]["code"]) == (400, "InvalidFilterInQueryString")


@pytest.mark.parametrize(("method", "verb"), [("GET", ""), ("POST", "/register")])
async def test_every_feature_is_registered(manager: Any, method: str, verb: str) -> None:
    path = f"{SUB}/providers/Microsoft.Features/providers/Microsoft.ContainerService/features/Any"
    status, body, _ = await manager.send(method, path + verb)
    assert (status, body["properties"]) == (200, {"state": "Registered"})
    assert (body["id"], body["name"]) == (path, "Microsoft.ContainerService/Any")


async def test_resources_of_an_identity_are_those_to_which_it_is_assigned(manager: Any) -> None:
    group = await manager.group("rg")
    provider = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    for name in ("first", "second"):
        await manager.send("PUT", f"{provider}/{name}", {"location": "eastus"})
    assigned = {"type": "UserAssigned", "userAssignedIdentities": {f"{provider}/First": {}}}
    cluster = f"{group}/providers/Microsoft.ContainerService/managedClusters/aks"
    pools = {"agentPoolProfiles": [{"name": "pool"}]}
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/account1"
    for path, more in ((cluster, {"properties": pools}), (account, {})):
        body = {"location": "eastus", "identity": assigned, **more}
        assert (await manager.send("PUT", path, body))[0] in (200, 201)
    path = f"{provider}/first/listAssociatedResources"
    _, found, _ = await manager.send("POST", path)
    assert [(one["id"], one["resourceGroup"]) for one in found["value"]] == [
        (cluster, "rg"),
        (account, "rg"),
    ]
    assert found["totalCount"] == 2
    _, found, _ = await manager.send("POST", path.replace("first", "second"))
    assert found == {"value": [], "totalCount": 0}
    assert (await manager.send("POST", path.replace("first", "third")))[0] == 404
