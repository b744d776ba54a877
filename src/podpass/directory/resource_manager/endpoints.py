"""The document that describes a cloud to `az cloud register`, Terraform and the SDKs; anybody may ask.

Source:  https://learn.microsoft.com/rest/api/resources/ (metadata/endpoints)
"""

import re
from typing import Any

from podpass import names
from podpass.directory.resource_manager.model import Origin, Place

_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::\d{1,5})?")
PATH = "metadata/endpoints"
_ARM_RESOURCES = ("https://management.core.windows.net/", f"https://{names.ARM_HOST}/")
# From 2022 on it is one cloud, in 2018 to 2021 a list of them, before that a list of three addresses.
_LIST_SINCE, _OBJECT_SINCE = "2018", "2022"


def origin(place: Place, host: str | None) -> Origin:
    """Say where a client finds the services that asked for this host name.

    Shapes:  loopback names get the direct addresses, any other Azure's own; what stands in the request
             is repeated only if it can be no other's address.
    """
    if _LOOPBACK.fullmatch(host or ""):
        base = f"https://{host}"
        return Origin(
            base=base,
            authority=place.authority,
            graph=base,
            vault_suffix=place.vault_suffix,
            public=False,
        )
    return Origin(
        base=f"https://{names.ARM_HOST}",
        authority=f"https://{names.LOGIN_HOST}",
        graph=f"https://{names.GRAPH_HOST}",
        vault_suffix=names.VAULT_SUFFIX,
    )


def write(place: Place, found: Origin, api_version: str) -> Any:
    """Write the document in the form of an api-version."""
    if api_version < _LIST_SINCE:
        return {
            "galleryEndpoint": f"{found.base}/",
            "graphEndpoint": f"{found.graph}/",
            "portalEndpoint": f"{found.base}/",
            "authentication": {
                "loginEndpoint": f"{found.authority}/",
                "audiences": list(_audiences(found)),
            },
        }
    cloud = _cloud(place, found)
    return cloud if api_version >= _OBJECT_SINCE else [cloud]


def _audiences(found: Origin) -> tuple[str, ...]:
    return _ARM_RESOURCES if found.public else (f"https://{names.ARM_HOST}/",)


def _cloud(place: Place, found: Origin) -> dict[str, Any]:
    base = f"{found.base}/"
    return {
        "name": "AzureCloud" if found.public else "podpass",
        "portal": "https://portal.azure.com" if found.public else base,
        "authentication": {
            "loginEndpoint": f"{found.authority}/",
            "audiences": list(_audiences(found)),
            "tenant": "common" if found.public else place.tenant_id,
            "identityProvider": "AAD",
        },
        "graph": f"{found.graph}/",
        "graphAudience": f"{found.graph}/",
        "microsoftGraphResourceId": f"{found.graph}/",
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
        "suffixes": _suffixes(found),
    }


def _suffixes(found: Origin) -> dict[str, str]:
    """Name the suffixes; podpass serves vaults only, the others are Azure's so that clients find a text."""
    return {
        "keyVaultDns": found.vault_suffix,
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
