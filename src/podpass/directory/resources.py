"""The resources that tokens can be requested for: Microsoft's, and the applications of a tenant. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from podpass.clouds import Cloud
from podpass.directory.model import Identity, IdentityKind, ResourcePrincipal
from podpass.directory.well_known_resources import (
    ACCOUNT_SUFFIXES,
    AKS_APP_ID,
    BUILT_IN,
    EXCHANGE_APP_ID,
    GRAPH_APP_ID,
    MANAGER_APP_ID,
    PORTAL_APP_ID,
    STORAGE_APP_ID,
    VAULT_APP_ID,
)
from podpass.guids import is_lower_guid

__all__ = [
    "AKS_APP_ID",
    "BUILT_IN",
    "EXCHANGE_APP_ID",
    "GRAPH_APP_ID",
    "MANAGER_APP_ID",
    "PORTAL_APP_ID",
    "STORAGE_APP_ID",
    "VAULT_APP_ID",
]

_API = "api://"
_HOST = re.compile(r"https://[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.IGNORECASE)


class Resources:
    """The resources of every tenant, by URI or application id."""

    def __init__(self, extra: Iterable[ResourcePrincipal] = ()) -> None:
        self._by_name: dict[str, ResourcePrincipal] = {}
        for resource in (*BUILT_IN, *extra):
            for name in (*(uri.removesuffix("/") for uri in resource.uris), resource.app_id):
                self._by_name.setdefault(name, resource)

    def find(self, uri: str) -> ResourcePrincipal | None:
        """Return a resource by URI, ignoring one trailing slash, or by application id.

        The endpoint of an account, such as https://orders.documents.azure.com, names the resource too.
        """
        app_id = uri.lower()
        name = app_id if is_lower_guid(app_id) else uri.removesuffix("/")
        return self._by_name.get(name) or self._by_name.get(_resource_of_account(name))


def _resource_of_account(uri: str) -> str:
    """Return the application id of the resource to which the endpoint of an account belongs."""
    if _HOST.fullmatch(uri) is None:
        return ""
    labels = uri.removeprefix("https://").lower().split(".")
    suffixes = (".".join(labels[count:]) for count in range(1, len(labels)))
    return next((ACCOUNT_SUFFIXES[each] for each in suffixes if each in ACCOUNT_SUFFIXES), "")


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

    `extra` are further URIs of the resource, without a trailing slash.
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
