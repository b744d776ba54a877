"""Microsoft's resources, which every tenant accepts without registration: a table. Pure.

Sources: the scopes that released Azure SDKs request, listed with their versions in docs/develop/resources.md,
and the service principals that Microsoft creates in tenants.
"""

import uuid
from collections.abc import Mapping

from podpass.clouds import PUBLIC
from podpass.directory.model import ResourcePrincipal

VAULT_APP_ID = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"
GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
MANAGER_APP_ID = "797f4846-ba00-4fd7-ba43-dac1f8f63013"
EXCHANGE_APP_ID = "fb60f99c-7a34-4190-8149-302f77469936"
STORAGE_APP_ID = "e406a681-f3d4-42a8-90b6-c2b029497af1"
PORTAL_APP_ID = "74658136-14ec-4630-ad9b-26e160ff0fc6"
AKS_APP_ID = "6dae42f8-4368-4678-94ff-3960e28e3630"
COSMOS_APP_ID = "f8202e39-5162-4378-8714-8018bb911e5c"
CONFIGURATION_APP_ID = "35ffadb3-7fc1-497e-b61b-381d28e744cc"
LOGS_APP_ID = "ca7f3f0b-7d91-482c-8e09-c5d840d0eac5"
EXPLORER_APP_ID = "2746ea77-4702-4b45-80ca-3c97e680e8b7"


def _resource(
    app_id: str, display_name: str, *uris: str, token_version: int = 1
) -> ResourcePrincipal:
    return ResourcePrincipal(
        app_id=app_id, uris=uris, display_name=display_name, token_version=token_version
    )


BUILT_IN = (
    _resource(VAULT_APP_ID, "Azure Key Vault", *PUBLIC.vaults),
    _resource(GRAPH_APP_ID, "Microsoft Graph", *PUBLIC.graphs),
    _resource(MANAGER_APP_ID, "Azure Resource Manager", *PUBLIC.managers),
    _resource(STORAGE_APP_ID, "Azure Storage", "https://storage.azure.com"),
    # A managed identity requests a token for this resource, and uses it as the credential of an application.
    _resource(
        EXCHANGE_APP_ID,
        "AAD Token Exchange Endpoint: Public",
        PUBLIC.exchange_audience,
        token_version=2,
    ),
    # `az ad app permission admin-consent` requests a token for the portal's API, by application ID only.
    _resource(PORTAL_APP_ID, "ADIbizaUX"),
    # kubelogin requests a token by application ID only.
    _resource(AKS_APP_ID, "Azure Kubernetes Service AAD Server"),
    _resource(
        "e933bd07-d2ee-4f1d-933c-3752b819567b",
        "Azure Monitor Control Service",
        "https://monitor.azure.com",
        "https://metrics.monitor.azure.com",
    ),
    _resource(LOGS_APP_ID, "Log Analytics API", "https://api.loganalytics.io"),
    _resource(
        "80a10ef9-8168-493d-abf9-3297c4ef6e3c",
        "Microsoft.ServiceBus",
        "https://servicebus.azure.net",
    ),
    _resource(
        "80369ed6-5f11-4dd9-bef3-692475845e77",
        "Microsoft.EventHubs",
        "https://eventhubs.azure.net",
    ),
    _resource(
        "022907d3-0f1b-48f7-badc-1ba6abab6d66",
        "Azure SQL Database",
        "https://database.windows.net",
    ),
    _resource(
        "123cd850-d9df-40bd-94d5-c9f07b7fa203",
        "Azure OSSRDBMS Database",
        "https://ossrdbms-aad.database.windows.net",
    ),
    _resource(COSMOS_APP_ID, "Azure Cosmos DB", "https://cosmos.azure.com"),
    _resource(
        "76c92352-c057-4cc2-9b1e-f34c32bc58bd",
        "Azure Container Registry Application",
        "https://containerregistry.azure.net",
    ),
    _resource(
        CONFIGURATION_APP_ID,
        "Azure App Configuration",
        "https://azconfig.io",
        "https://appconfig.azure.com",
    ),
    _resource(
        "7d312290-28c8-473c-a0ed-8e53749b6d6d",
        "Microsoft Cognitive Services",
        "https://cognitiveservices.azure.com",
    ),
    _resource(
        "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe",
        "Azure Machine Learning Services",
        "https://ai.azure.com",
        "https://ml.azure.com",
    ),
    _resource(
        "880da380-985e-4198-81b9-e05b1cc53158",
        "Azure AI Search",
        "https://search.azure.com",
    ),
    _resource(
        "acca5fbb-b7e4-4009-81f1-37e38fd66d78",
        "Azure Cache for Redis",
        "https://redis.azure.com",
    ),
    _resource(EXPLORER_APP_ID, "Azure Data Explorer", "https://kusto.kusto.windows.net"),
    _resource(
        "ddbf3205-c6bd-46ae-8127-60eb93363864",
        "Microsoft Azure Batch",
        "https://batch.core.windows.net",
    ),
    _resource(
        "0b07f429-9f4b-4714-9392-cc5e8e80c8b0",
        "Azure Digital Twins",
        "https://digitaltwins.azure.net",
    ),
)

# Some SDKs request a token for the endpoint of one account: https://ACCOUNT.documents.azure.com/.default.
ACCOUNT_SUFFIXES: Mapping[str, str] = {
    "documents.azure.com": COSMOS_APP_ID,
    "azconfig.io": CONFIGURATION_APP_ID,
    "kusto.windows.net": EXPLORER_APP_ID,
    **{
        f"{service}.core.windows.net": STORAGE_APP_ID
        for service in ("blob", "dfs", "file", "queue", "table")
    },
}

# Delegated permissions by name, and their IDs. Resources that are not listed have `user_impersonation`. An ID
# that Microsoft does not document is podpass's own.
_SPACE = uuid.UUID("b0a7a3e2-6d6c-4b8e-9a57-0c1c1d6a2f4e")
IMPERSONATION = "user_impersonation"
_PERMISSIONS: Mapping[str, Mapping[str, str]] = {
    # Only Microsoft's tools and workloads call these, so no application can get a user's consent for them.
    PORTAL_APP_ID: {},
    EXCHANGE_APP_ID: {},
    AKS_APP_ID: {"user.read": "34a47c2f-cd0d-47b4-a93c-2c41130c671c"},
    CONFIGURATION_APP_ID: {
        "KeyValue.Read": "8d17f7f7-030c-4b57-8129-cfb5a16433cd",
        "KeyValue.Write": "77967a14-4f88-4960-84da-e8f71f761ac2",
        "KeyValue.Delete": "08eeff12-9b4a-4273-b3d9-ff8a13c32645",
        "Snapshot.Read": "5970d132-a862-421f-9352-8ed18f833d78",
        "Snapshot.Write": "ea601552-5fd3-4792-9dfc-e85be5a6827c",
        "Snapshot.Action": "28bb462a-d940-4cbe-afeb-281756df9af8",
    },
    LOGS_APP_ID: {"Data.Read": str(uuid.uuid5(_SPACE, LOGS_APP_ID))},
}
_IMPERSONATION_IDS: Mapping[str, str] = {
    MANAGER_APP_ID: "41094075-9dad-400e-a0bd-54e686782033",
    VAULT_APP_ID: "f53da476-18e3-4152-8e01-aec403e6edc0",
    STORAGE_APP_ID: "03e0da56-190b-40ad-a80c-ea378c433f7f",
    EXPLORER_APP_ID: "00d678f0-da44-4b12-a6d6-c98bcfd1c5fe",
    "80a10ef9-8168-493d-abf9-3297c4ef6e3c": "40e16207-c5fd-4916-8ca4-64565f2367ca",
    "80369ed6-5f11-4dd9-bef3-692475845e77": "7d388411-3845-4cfc-aa69-33192f4b9735",
    "022907d3-0f1b-48f7-badc-1ba6abab6d66": "c39ef2d1-04ce-46dc-8b5f-e9a5c60f0fc9",
    "123cd850-d9df-40bd-94d5-c9f07b7fa203": "cef99a3a-4cd3-4408-8143-4375d1e38a17",
    "7d312290-28c8-473c-a0ed-8e53749b6d6d": "5f1e8914-a52b-429f-9324-91b92b81adaf",
    "18a66f5f-dbdf-4c17-9dd7-1634712a9cbe": "1a7925b5-f871-417a-9b8b-303f9f29fa10",
    "880da380-985e-4198-81b9-e05b1cc53158": "a4165a31-5d9e-4120-bd1e-9d88c66fd3b8",
    "0b07f429-9f4b-4714-9392-cc5e8e80c8b0": "4589bd03-58cb-4e6c-b17f-b580e39652f8",
}


def permission_ids(app_id: str) -> Mapping[str, str]:
    """Return the delegated permissions of a resource other than Graph, by name, and their IDs."""
    own_id = _IMPERSONATION_IDS.get(app_id) or str(uuid.uuid5(_SPACE, app_id))
    return _PERMISSIONS.get(app_id, {IMPERSONATION: own_id})
