"""The resources that tokens can be requested for: Microsoft's, and the applications of a tenant. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from podpass.clouds import PUBLIC, Cloud
from podpass.directory.model import Identity, IdentityKind, ResourcePrincipal
from podpass.guids import is_lower_guid

VAULT_APP_ID = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"
GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"
MANAGER_APP_ID = "797f4846-ba00-4fd7-ba43-dac1f8f63013"
EXCHANGE_APP_ID = "fb60f99c-7a34-4190-8149-302f77469936"
STORAGE_APP_ID = "e406a681-f3d4-42a8-90b6-c2b029497af1"
_API = "api://"

BUILT_IN = (
    ResourcePrincipal(
        app_id=VAULT_APP_ID,
        uris=PUBLIC.vaults,
        display_name="Azure Key Vault",
        token_version=1,
    ),
    ResourcePrincipal(
        app_id=GRAPH_APP_ID,
        uris=PUBLIC.graphs,
        display_name="Microsoft Graph",
        token_version=1,
    ),
    ResourcePrincipal(
        app_id=MANAGER_APP_ID,
        uris=PUBLIC.managers,
        display_name="Azure Resource Manager",
        token_version=1,
    ),
    ResourcePrincipal(
        app_id=STORAGE_APP_ID,
        uris=("https://storage.azure.com",),
        display_name="Azure Storage",
        token_version=1,
    ),
    # A managed identity requests a token for this resource, and uses it as the credential of an application.
    ResourcePrincipal(
        app_id=EXCHANGE_APP_ID,
        uris=(PUBLIC.exchange_audience,),
        display_name="AAD Token Exchange Endpoint: Public",
        token_version=2,
    ),
)


class Resources:
    """The resources of every tenant, by URI or application id."""

    def __init__(self, extra: Iterable[ResourcePrincipal] = ()) -> None:
        self._by_name: dict[str, ResourcePrincipal] = {}
        for resource in (*BUILT_IN, *extra):
            for name in (*(uri.removesuffix("/") for uri in resource.uris), resource.app_id):
                self._by_name.setdefault(name, resource)

    def find(self, uri: str) -> ResourcePrincipal | None:
        """Return a resource by URI, ignoring one trailing slash, or by application id."""
        app_id = uri.lower()
        return self._by_name.get(app_id if is_lower_guid(app_id) else uri.removesuffix("/"))


def resources_of_cloud(cloud: Cloud) -> tuple[ResourcePrincipal, ...]:
    """Return Microsoft's resources with the URIs of another cloud, in addition to the built-in ones."""
    uris = {
        VAULT_APP_ID: cloud.vaults,
        GRAPH_APP_ID: cloud.graphs,
        MANAGER_APP_ID: cloud.managers,
        EXCHANGE_APP_ID: (cloud.exchange_audience,),
    }
    return tuple(replace(one, uris=uris[one.app_id]) for one in BUILT_IN if one.app_id in uris)


def audiences(app_id: str, extra: Iterable[str] = ()) -> frozenset[str]:
    """Return every valid `aud` of a token for a built-in resource.

    Shapes:  `extra` are further URIs of the resource, without a trailing slash.
    """
    uris = [uri for one in BUILT_IN if one.app_id == app_id for uri in one.uris] + [*extra]
    return frozenset([*uris, *(f"{uri}/" for uri in uris), app_id])


def application_id(uri: str) -> str | None:
    """Return the client id in `api://{client id}` or in a plain client id, or None."""
    name = uri.removesuffix("/").lower().removeprefix(_API)
    return name if is_lower_guid(name) else None


def application_resource(identity: Identity) -> ResourcePrincipal | None:
    """Return an application as a resource; None for a managed identity.

    An application without a service principal is not in the tenant, so it is not a resource.
    """
    if identity.kind is not IdentityKind.APPLICATION:
        return None
    if not identity.enabled or not identity.has_principal:
        return None
    return ResourcePrincipal(
        app_id=identity.client_id,
        uris=(_API + identity.client_id, *identity.identifier_uris),
        display_name=identity.name,
        token_version=token_version(identity),
    )


def token_version(identity: Identity) -> int:
    """Return the token version of an application: null means version 1, as in Graph.

    Graph always stores the attribute. An application without it, for example from a seed, gets version 2.
    """
    api = identity.document.get("api")
    if not isinstance(api, Mapping) or "requestedAccessTokenVersion" not in api:
        return 2
    return 2 if api["requestedAccessTokenVersion"] == 2 else 1
