"""The table of well-known resources: each scope that a released SDK requests finds its resource."""

import pytest

from podpass.directory import delegated_permissions
from podpass.directory.model import ResourcePrincipal
from podpass.directory.resources import BUILT_IN, Resources, audiences
from podpass.exchange.scope import resource_from_scope
from podpass.guids import is_lower_guid

# What released clients request; docs/develop/resources.md has their versions.
REQUESTED = (
    ("6dae42f8-4368-4678-94ff-3960e28e3630/.default", "Azure Kubernetes Service AAD Server"),
    ("74658136-14ec-4630-ad9b-26e160ff0fc6/.default", "ADIbizaUX"),
    ("https://monitor.azure.com/.default", "Azure Monitor Control Service"),
    ("https://monitor.azure.com//.default", "Azure Monitor Control Service"),
    ("https://metrics.monitor.azure.com/.default", "Azure Monitor Control Service"),
    ("https://api.loganalytics.io/.default", "Log Analytics API"),
    ("https://servicebus.azure.net//.default", "Microsoft.ServiceBus"),
    ("https://eventhubs.azure.net//.default", "Microsoft.EventHubs"),
    ("https://database.windows.net/.default", "Azure SQL Database"),
    ("https://database.windows.net//.default", "Azure SQL Database"),
    ("https://ossrdbms-aad.database.windows.net/.default", "Azure OSSRDBMS Database"),
    ("https://cosmos.azure.com/.default", "Azure Cosmos DB"),
    ("https://orders.documents.azure.com/.default", "Azure Cosmos DB"),
    ("https://containerregistry.azure.net/.default", "Azure Container Registry Application"),
    ("https://management.core.windows.net/.default", "Azure Resource Manager"),
    ("https://azconfig.io/.default", "Azure App Configuration"),
    ("https://appconfig.azure.com/.default", "Azure App Configuration"),
    ("https://orders.azconfig.io/.default", "Azure App Configuration"),
    ("https://cognitiveservices.azure.com/.default", "Microsoft Cognitive Services"),
    ("https://ai.azure.com/.default", "Azure Machine Learning Services"),
    ("https://ml.azure.com/.default", "Azure Machine Learning Services"),
    ("https://search.azure.com/.default", "Azure AI Search"),
    ("https://redis.azure.com/.default", "Azure Cache for Redis"),
    ("acca5fbb-b7e4-4009-81f1-37e38fd66d78/.default", "Azure Cache for Redis"),
    ("https://storage.azure.com/.default", "Azure Storage"),
    ("https://storage.azure.com//.default", "Azure Storage"),
    ("https://orders.blob.core.windows.net/.default", "Azure Storage"),
    ("https://kusto.kusto.windows.net/.default", "Azure Data Explorer"),
    ("https://help.westeurope.kusto.windows.net/.default", "Azure Data Explorer"),
    ("https://batch.core.windows.net//.default", "Microsoft Azure Batch"),
    ("https://digitaltwins.azure.net/.default", "Azure Digital Twins"),
)


@pytest.mark.parametrize(("scope", "name"), REQUESTED)
def test_scope_of_a_released_client_finds_its_resource(scope: str, name: str) -> None:
    found = Resources().find(resource_from_scope(scope))
    assert found is not None
    assert found.display_name == name


@pytest.mark.parametrize(
    "name",
    [
        "https://documents.azure.com",
        "http://orders.documents.azure.com",
        "https://orders.documents.azure.com.evil.test",
        "https://evil.test/orders.documents.azure.com",
        "https://evil.test#.documents.azure.com",
        "https://user@orders.documents.azure.com",
        "https://orders.documents.azure.com:444",
        "https://ordersdocuments.azure.com",
        "https://.documents.azure.com",
        "https://orders.documents.azure.com//",
        "https://\u043erders.documents.azure.com",
    ],
)
def test_name_that_is_similar_to_the_endpoint_of_an_account_is_unknown(name: str) -> None:
    assert Resources().find(name) is None


def test_additional_resource_does_not_replace_a_microsoft_resource() -> None:
    """Fails if tokens that clients request for the vault are issued for another resource."""
    other = ResourcePrincipal(
        app_id="11111111-1111-4111-8111-111111111111",
        uris=("https://vault.azure.net", "https://other.example"),
        display_name="other",
        token_version=1,
    )
    found = Resources([other])
    assert found.find("https://vault.azure.net") == Resources().find("https://vault.azure.net")
    assert found.find("https://other.example") == other


def test_ids_and_uris_of_built_in_resources_are_unique() -> None:
    ids = [one.app_id for one in BUILT_IN]
    uris = [uri for one in BUILT_IN for uri in one.uris]
    assert len(set(ids)) == len(ids)
    assert all(map(is_lower_guid, ids))
    assert len(set(uris)) == len(uris)
    assert not [uri for uri in uris if uri.endswith("/")]
    assert "https://storage.azure.com/" in audiences("e406a681-f3d4-42a8-90b6-c2b029497af1")


def test_ids_of_delegated_permissions_are_unique_in_a_resource() -> None:
    for resource in BUILT_IN:
        found = delegated_permissions.of_built_in(resource.app_id, resource.display_name)
        assert len({one.id for one in found}) == len({one.value for one in found}) == len(found)
        assert all(is_lower_guid(one.id) for one in found)
