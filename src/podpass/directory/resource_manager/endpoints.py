"""The cloud metadata that `az cloud register`, Terraform and the SDKs read. It needs no authentication.

Source:  https://learn.microsoft.com/rest/api/resources/ (metadata/endpoints)
"""

import re
from typing import Any

from podpass import names
from podpass.directory.resource_manager.model import ServiceEndpoints, SubscriptionContext

_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
PATH = "metadata/endpoints"
_ARM_RESOURCES = ("https://management.core.windows.net/", f"https://{names.ARM_HOST}/")
# Versions since 2022 return one cloud, 2018 to 2021 a list of clouds, earlier versions three URLs.
_LIST_SINCE, _OBJECT_SINCE = "2018", "2022"


def resolve(subscription: SubscriptionContext, host: str | None) -> ServiceEndpoints:
    """Return the URLs of the services for the host name of a request.

    A loopback host gets direct addresses, any other host Azure's own. The host of the request is repeated
    only if it is a loopback address.
    """
    if _LOOPBACK.fullmatch(host or ""):
        base = f"https://{host}"
        return ServiceEndpoints(
            base=base,
            authority=subscription.authority,
            graph=base,
            vault_suffix=subscription.vault_suffix,
            public=False,
        )
    return ServiceEndpoints(
        base=f"https://{names.ARM_HOST}",
        authority=f"https://{names.LOGIN_HOST}",
        graph=f"https://{names.GRAPH_HOST}",
        vault_suffix=names.VAULT_SUFFIX,
    )


def to_json(subscription: SubscriptionContext, urls: ServiceEndpoints, api_version: str) -> Any:
    """Return the document in the format of an api-version."""
    if api_version < _LIST_SINCE:
        return {
            "galleryEndpoint": f"{urls.base}/",
            "graphEndpoint": f"{urls.graph}/",
            "portalEndpoint": f"{urls.base}/",
            "authentication": {
                "loginEndpoint": f"{urls.authority}/",
                "audiences": list(_audiences(urls)),
            },
        }
    cloud = _cloud(subscription, urls)
    return cloud if api_version >= _OBJECT_SINCE else [cloud]


def _audiences(urls: ServiceEndpoints) -> tuple[str, ...]:
    return _ARM_RESOURCES if urls.public else (f"https://{names.ARM_HOST}/",)


def _cloud(subscription: SubscriptionContext, urls: ServiceEndpoints) -> dict[str, Any]:
    base = f"{urls.base}/"
    return {
        "name": "AzureCloud" if urls.public else "podpass",
        "portal": "https://portal.azure.com" if urls.public else base,
        "authentication": {
            "loginEndpoint": f"{urls.authority}/",
            "audiences": list(_audiences(urls)),
            "tenant": "common" if urls.public else subscription.tenant_id,
            "identityProvider": "AAD",
        },
        "graph": f"{urls.graph}/",
        "graphAudience": f"{urls.graph}/",
        "microsoftGraphResourceId": f"{urls.graph}/",
        "resourceManager": base,
        "media": base,
        "batch": base,
        "gallery": base,
        "sqlManagement": base,
        "vmImageAliasDoc": base,
        "activeDirectoryDataLake": base,
        "appInsightsResourceId": base,
        "appInsightsTelemetryChannelResourceId": base,
        "attestationResourceId": base,
        "logAnalyticsResourceId": base,
        "synapseAnalyticsResourceId": base,
        "ossrDbmsResourceId": base,
        "suffixes": _suffixes(urls),
    }


def _suffixes(urls: ServiceEndpoints) -> dict[str, str]:
    """Return the DNS suffixes: for vaults podpass's own, otherwise Azure's, because clients require them."""
    return {
        "keyVaultDns": urls.vault_suffix,
        "mhsmDns": "managedhsm.azure.net",
        "storage": "core.windows.net",
        "storageSyncEndpointSuffix": "afs.azure.net",
        "acrLoginServer": "azurecr.io",
        "sqlServerHostname": "database.windows.net",
        "mysqlServerEndpoint": "mysql.database.azure.com",
        "postgresqlServerEndpoint": "postgres.database.azure.com",
        "mariadbServerEndpoint": "mariadb.database.azure.com",
        "azureDataLakeStoreFileSystem": "azuredatalakestore.net",
        "azureDataLakeAnalyticsCatalogAndJob": "azuredatalakeanalytics.net",
        "synapseAnalytics": "dev.azuresynapse.net",
        "attestationEndpoint": "attest.azure.net",
    }
